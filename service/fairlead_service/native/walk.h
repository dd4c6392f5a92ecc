/* Walks rows down an ensemble of trees: scikit-learn's decision trees, forests and gradient boosting, in C alone.
 *
 * The ensemble was checked by forest.c: nothing here looks whether an index is inside its array.
 */

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum combine { SINGLE, MEAN, SUM };
enum status { BEYOND_FLOAT32 = 1, HAS_NAN = 2 };

/* LANES walks are interleaved, so that the processor waits for many loads at once and not for one after the other. */
#define LANES 8
/* Rows that are walked together, so that a tree's nodes stay near: as many as keep their keys near as well. */
#define BLOCK_KEYS 4096
#define MOST_ROWS 512
#define LEAST_ROWS 32

/* Per node: keys, features, lefts. In arrays of their own, because processors address fours and eights without
 * computing. A leaf leads to itself and so never ends a loop: its key is below every number's, so every row goes to
 * left + 1, the leaf again; its key is the place of its values in `leaves`. */
typedef struct {
    uint64_t *keys;
    int32_t *features; /* times LANES, as rows lie in the scratch */
    int32_t *lefts;
    uint8_t *missing_left; /* a node's flag, or NULL if no node has it */
    double *leaves;        /* leaf_width values each */
    int32_t *roots;
    int32_t *heights; /* a tree's splits on its longest path */
    double *base;
    ptrdiff_t n_nodes, n_trees, n_features, width, steps;
    ptrdiff_t leaf_width; /* 1 for SUM; else width, or one more if that is odd: pairs are added at once */
    ptrdiff_t sum_width;  /* of the sums in the scratch */
    int combine, float32;
} Ensemble;

/* ---- numbers as integers ---------------------------------------------------------------------------------------- */

#define KEY_OF_NAN UINT64_MAX

/* a <= b exactly if key(a) <= key(b), for numbers; both zeros have the same key. No key is below 2^52 - 1, -inf's.
 * Integers are compared faster, and what follows from it needs no branch. */
static inline uint64_t key(double number) {
    uint64_t bits;
    number += 0.0; /* -0.0 becomes 0.0 */
    memcpy(&bits, &number, sizeof bits);
    return bits ^ (bits >> 63 ? UINT64_MAX : UINT64_C(1) << 63);
}

/* ---- walking ---------------------------------------------------------------------------------------------------- */

#define INLINE static inline __attribute__((always_inline))

/* Moves every lane down to its leaf. x: the keys, (n_features, LANES); all lanes are one row if `one`. A missing value is
 * above every threshold, so it goes right by itself; missing_left is NULL if it never goes left. */
INLINE void walk(const Ensemble *trees, const uint8_t *missing_left, const uint64_t *x, int one, int32_t height,
                 int64_t *at) {
    const uint64_t *keys = trees->keys;
    const int32_t *features = trees->features, *lefts = trees->lefts;
    for (int32_t level = 0; level < height; level++)
        for (int lane = 0; lane < LANES; lane++) {
            int64_t node = at[lane];
            uint64_t value = x[(int64_t)features[node] + (one ? 0 : lane)];
            if (missing_left) {
                int right = keys[node] < value;
                at[lane] = lefts[node] + (int64_t)(right & !((value == KEY_OF_NAN) & missing_left[node]));
            } else
                at[lane] = lefts[node] + (int64_t)(keys[node] < value);
        }
}

INLINE void add_leaf(const Ensemble *trees, int leaf_width, int64_t node, double *restrict sum) {
    const double *restrict leaf = trees->leaves + trees->keys[node];
    ptrdiff_t width = leaf_width ? leaf_width : trees->leaf_width;
    for (ptrdiff_t k = 0; k < width; k++)
        sum[k] += leaf[k];
}

INLINE ptrdiff_t column(const Ensemble *trees, ptrdiff_t tree) {
    return trees->combine == SUM && trees->width > 1 ? tree % trees->width : 0;
}

/* One row down LANES trees at once. x: the row in lane 0; sum: (sum_width). */
INLINE void one_row(const Ensemble *trees, const uint8_t *missing_left, int leaf_width, const uint64_t *x, double *sum) {
    for (ptrdiff_t tree = 0; tree < trees->n_trees; tree += LANES) {
        int64_t at[LANES];
        ptrdiff_t rest = trees->n_trees - tree, lanes = rest < LANES ? rest : LANES;
        int32_t height = 0;
        for (ptrdiff_t lane = 0; lane < LANES; lane++) {
            ptrdiff_t own = lane < lanes ? tree + lane : tree;
            at[lane] = trees->roots[own];
            height = trees->heights[own] > height ? trees->heights[own] : height;
        }
        walk(trees, missing_left, x, 1, height, at);
        for (ptrdiff_t lane = 0; lane < lanes; lane++)
            add_leaf(trees, leaf_width, at[lane], sum + column(trees, tree + lane));
    }
}

/* LANES rows at once down one tree. x: (groups, n_features, LANES); sum: (groups * LANES, sum_width). */
INLINE void many_rows(const Ensemble *trees, const uint8_t *missing_left, int leaf_width, const uint64_t *x,
                      ptrdiff_t groups, double *sum) {
    for (ptrdiff_t tree = 0; tree < trees->n_trees; tree++) {
        double *to = sum + column(trees, tree);
        const uint64_t *row = x;
        for (ptrdiff_t group = 0; group < groups; group++) {
            int64_t at[LANES];
            for (int lane = 0; lane < LANES; lane++)
                at[lane] = trees->roots[tree];
            walk(trees, missing_left, row, 0, trees->heights[tree], at);
            row += trees->n_features * LANES;
            for (int lane = 0; lane < LANES; lane++, to += trees->sum_width)
                add_leaf(trees, leaf_width, at[lane], to);
        }
    }
}

INLINE void rows_down(const Ensemble *trees, const uint8_t *missing_left, int leaf_width, const uint64_t *x,
                      ptrdiff_t count, double *sum) {
    if (count == 1)
        one_row(trees, missing_left, leaf_width, x, sum);
    else
        many_rows(trees, missing_left, leaf_width, x, count / LANES, sum);
}

/* Compiles the common widths each on its own: to a compiler, a loop of known length is none. */
INLINE void rows_down_by_width(const Ensemble *trees, const uint8_t *missing_left, const uint64_t *x, ptrdiff_t count,
                               double *sum) {
    switch (trees->leaf_width) {
    case 1:
        rows_down(trees, missing_left, 1, x, count, sum);
        break;
    case 2:
        rows_down(trees, missing_left, 2, x, count, sum);
        break;
    case 4:
        rows_down(trees, missing_left, 4, x, count, sum);
        break;
    default:
        rows_down(trees, missing_left, 0, x, count, sum);
    }
}

/* Writes a row's keys to x[0], x[LANES], …, rounded to float32 first if the trees want it. Returns status bits. */
INLINE int load_row(const double *row, ptrdiff_t n_features, int float32, uint64_t *x) {
    int beyond = 0, nan = 0;
    for (ptrdiff_t j = 0; j < n_features; j++) {
        double value = float32 ? (double)(float)row[j] : row[j];
        int missing = value != value;
        beyond |= fabs(value) > DBL_MAX;
        nan |= missing;
        x[j * LANES] = missing ? KEY_OF_NAN : key(value);
    }
    return (beyond && float32 ? BEYOND_FLOAT32 : 0) | (nan ? HAS_NAN : 0);
}

/* 1 or a multiple of LANES. */
static ptrdiff_t block_rows(const Ensemble *trees, ptrdiff_t n) {
    ptrdiff_t most = BLOCK_KEYS / trees->n_features;
    most = most > MOST_ROWS ? MOST_ROWS : most < LEAST_ROWS ? LEAST_ROWS : most;
    if (n < LANES)
        return 1;
    return n < most ? n - n % LANES : most - most % LANES;
}

static void begin_sums(const Ensemble *trees, ptrdiff_t count, double *sum) {
    /* -0.0 + leaf is the leaf, bit for bit; 0.0 + -0.0 is 0.0, which is what forests start from. */
    double zero = trees->combine == SINGLE ? -0.0 : 0.0;
    for (ptrdiff_t i = 0; i < count; i++, sum += trees->sum_width)
        for (ptrdiff_t k = 0; k < trees->sum_width; k++)
            sum[k] = trees->combine == SUM ? trees->base[k] : zero;
}

static void finish_sums(const Ensemble *trees, ptrdiff_t count, const double *sum, double *raw) {
    for (ptrdiff_t i = 0; i < count; i++, sum += trees->sum_width, raw += trees->width)
        for (ptrdiff_t k = 0; k < trees->width; k++)
            raw[k] = trees->combine == MEAN ? sum[k] / (double)trees->n_trees : sum[k];
}

/* rows: (n, n_features); x: room for block_rows() rows' keys, but at least LANES rows'; sum: for block_rows() sums;
 * raw: (n, width). Returns status bits; with BEYOND_FLOAT32 among them, raw is not complete. */
static int run_trees(const Ensemble *trees, const double *rows, ptrdiff_t n, uint64_t *x, double *sum, double *raw) {
    int seen = 0;
    ptrdiff_t p = trees->n_features, block = block_rows(trees, n);
    for (ptrdiff_t first = 0, count; first < n; first += count) {
        ptrdiff_t rest = n - first;
        count = rest < LANES ? 1 : rest < block ? rest - rest % LANES : block;
        int found = 0;
        for (ptrdiff_t i = 0; i < count; i++) {
            const double *row = rows + (first + i) * p;
            uint64_t *place = x + (i - i % LANES) * p + i % LANES;
            found |= trees->float32 ? load_row(row, p, 1, place) : load_row(row, p, 0, place);
        }
        seen |= found;
        if (found & BEYOND_FLOAT32)
            return seen;
        begin_sums(trees, count, sum);
        if (trees->missing_left && (found & HAS_NAN))
            rows_down_by_width(trees, trees->missing_left, x, count, sum);
        else
            rows_down_by_width(trees, NULL, x, count, sum);
        finish_sums(trees, count, sum, raw + first * trees->width);
    }
    return seen;
}
