/* The native kernel for Python: tree ensembles, expit and sparse products, equal to scikit-learn's and SciPy's answers in
 * every bit.
 *
 * Compile without contraction of a * b + c into one rounding (-ffp-contract=off) and without -ffast-math: the order and
 * the rounding of every operation is the contract. Python's limited API and the buffer protocol only.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "walk.h"

#define MISSING_LEFT (1 << 30) /* program.MISSING_LEFT */
#define STACK_BYTES 16384
/* A thread that wants the GIL back may wait for sys.getswitchinterval(), 5 ms: not worth it for some microseconds. */
#define STEPS_WORTH_RELEASING 50000

/* A node on disk: program.NODE. */
typedef struct {
    double threshold;
    int32_t feature;
    int32_t left;
} StoredNode;

typedef struct {
    PyObject_HEAD
    Ensemble trees;
} Forest;

/* ---- buffers ---------------------------------------------------------------------------------------------------- */

/* A C-contiguous buffer of the given number of dimensions and item size, and of the format if that is not NULL. */
static int take(PyObject *object, Py_buffer *view, const char *what, int ndim, Py_ssize_t itemsize, const char *format,
                int flags) {
    if (PyObject_GetBuffer(object, view, flags | PyBUF_C_CONTIGUOUS | PyBUF_FORMAT) < 0) {
        /* numpy raises the one, others the other. */
        if (PyErr_ExceptionMatches(PyExc_ValueError) || PyErr_ExceptionMatches(PyExc_BufferError)) {
            PyErr_Clear();
            PyErr_Format(PyExc_ValueError, "%s must be a C-contiguous array%s", what,
                         flags & PyBUF_WRITABLE ? " that can be written" : "");
        }
        return -1;
    }
    if (view->ndim != ndim || view->itemsize != itemsize ||
        (format && (!view->format || strcmp(view->format, format) != 0))) {
        PyErr_Format(PyExc_ValueError, "%s has %d dimensions and the format %s, not %d and %s", what, view->ndim,
                     view->format ? view->format : "B", ndim, format ? format : "that of nodes");
        PyBuffer_Release(view);
        return -1;
    }
    return 0;
}

static void *copy(const Py_buffer *view) {
    void *memory = PyMem_Malloc((size_t)view->len + 1);
    if (memory)
        memcpy(memory, view->buf, (size_t)view->len);
    else
        PyErr_NoMemory();
    return memory;
}

/* ---- building --------------------------------------------------------------------------------------------------- */

/* Checks each node, so that walks stay inside the arrays and end, and gives nodes the form that walks want. */
static int prepare(Ensemble *trees, const char *nodes, Py_ssize_t n_leaves) {
    uint8_t *flags = PyMem_Calloc((size_t)trees->n_nodes + 1, 1);
    int32_t *height = PyMem_Calloc((size_t)trees->n_nodes + 1, sizeof(int32_t));
    int any = 0, ok = -1;
    if (!flags || !height) {
        PyErr_NoMemory();
        goto done;
    }
    for (Py_ssize_t i = trees->n_nodes - 1; i >= 0; i--) {
        StoredNode node;
        memcpy(&node, nodes + i * (Py_ssize_t)sizeof node, sizeof node);
        int32_t left = node.left, feature = node.feature;
        if (feature == -1) {
            if (left < 0 || left >= n_leaves) {
                PyErr_Format(PyExc_ValueError, "node %zd is a leaf with row %d of %zd", i, left, n_leaves);
                goto done;
            }
            trees->keys[i] = (uint64_t)left * (uint64_t)trees->leaf_width;
            trees->lefts[i] = (int32_t)i - 1;
            continue;
        }
        if (feature >= 0 && feature & MISSING_LEFT) {
            any = flags[i] = 1;
            feature -= MISSING_LEFT;
        }
        if (feature < 0 || feature >= trees->n_features) {
            PyErr_Format(PyExc_ValueError, "node %zd splits column %d of %zd", i, feature, trees->n_features);
            goto done;
        }
        if (left <= i || left >= trees->n_nodes - 1) {
            PyErr_Format(PyExc_ValueError, "node %zd of %zd has its children at %d", i, trees->n_nodes, left);
            goto done;
        }
        /* Nothing is <= NaN. */
        trees->keys[i] = node.threshold == node.threshold ? key(node.threshold) : 0;
        trees->features[i] = feature * LANES;
        trees->lefts[i] = left;
        height[i] = 1 + (height[left] > height[left + 1] ? height[left] : height[left + 1]);
    }
    for (Py_ssize_t tree = 0; tree < trees->n_trees; tree++) {
        int32_t root = trees->roots[tree];
        if (root < 0 || root >= trees->n_nodes) {
            PyErr_Format(PyExc_ValueError, "tree %zd has its root at %d of %zd nodes", tree, root, trees->n_nodes);
            goto done;
        }
        trees->heights[tree] = height[root];
        trees->steps += height[root];
    }
    if (any) {
        trees->missing_left = flags;
        flags = NULL;
    }
    ok = 0;
done:
    PyMem_Free(flags);
    PyMem_Free(height);
    return ok;
}

/* The leaves, each with a zero more if its width is odd. */
static double *padded(const Py_buffer *leaves, Py_ssize_t leaf_width) {
    Py_ssize_t n = leaves->shape[0], width = leaves->shape[1];
    double *to = PyMem_Calloc((size_t)(n * leaf_width) + 1, sizeof(double));
    for (Py_ssize_t i = 0; to && i < n; i++)
        memcpy(to + i * leaf_width, (const double *)leaves->buf + i * width, (size_t)width * sizeof(double));
    return to;
}

static int fill(Ensemble *trees, Py_buffer *nodes, Py_buffer *leaves, Py_buffer *roots, PyObject *base) {
    if (trees->n_features < 1 || trees->n_features > INT32_MAX / LANES || trees->width < 1 || trees->combine < SINGLE ||
        trees->combine > SUM) {
        PyErr_SetString(PyExc_ValueError, "a forest needs a column, a width of one or more, and a way to combine");
        return -1;
    }
    if (roots->len == 0 || (trees->combine == SINGLE && roots->shape[0] != 1)) {
        PyErr_Format(PyExc_ValueError, "%zd trees cannot be combined that way", roots->shape[0]);
        return -1;
    }
    if (leaves->shape[1] != (trees->combine == SUM ? 1 : trees->width)) {
        PyErr_Format(PyExc_ValueError, "leaves have %zd values", leaves->shape[1]);
        return -1;
    }
    if (nodes->shape[0] > INT32_MAX) {
        PyErr_SetString(PyExc_ValueError, "there are too many nodes");
        return -1;
    }
    trees->n_nodes = nodes->shape[0];
    trees->n_trees = roots->shape[0];
    if (trees->combine == SUM) {
        Py_buffer view;
        if (take(base, &view, "base", 1, sizeof(double), "d", 0) < 0)
            return -1;
        if (view.shape[0] == trees->width)
            trees->base = copy(&view);
        else
            PyErr_Format(PyExc_ValueError, "base has %zd values", view.shape[0]);
        PyBuffer_Release(&view);
        if (!trees->base)
            return -1;
    }
    trees->leaf_width = trees->combine == SUM || trees->width == 1 ? 1 : trees->width + trees->width % 2;
    trees->sum_width = trees->combine == SUM ? trees->width : trees->leaf_width;
    trees->keys = PyMem_Calloc((size_t)trees->n_nodes + 1, sizeof(uint64_t));
    trees->features = PyMem_Calloc((size_t)trees->n_nodes + 1, sizeof(int32_t));
    trees->lefts = PyMem_Calloc((size_t)trees->n_nodes + 1, sizeof(int32_t));
    trees->leaves = padded(leaves, trees->leaf_width);
    trees->roots = copy(roots);
    trees->heights = PyMem_Calloc((size_t)trees->n_trees, sizeof(int32_t));
    if (!trees->keys || !trees->features || !trees->lefts || !trees->leaves || !trees->roots || !trees->heights) {
        PyErr_NoMemory();
        return -1;
    }
    return prepare(trees, nodes->buf, leaves->shape[0]);
}

static PyObject *forest_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"nodes", "leaves", "roots", "base", "n_features", "width", "combine", "float32", NULL};
    PyObject *nodes, *leaves, *roots, *base;
    Py_ssize_t n_features, width;
    int combine, float32;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOOnnip", names, &nodes, &leaves, &roots, &base, &n_features,
                                     &width, &combine, &float32))
        return NULL;
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    Forest *self = (Forest *)allocate(type, 0);
    if (!self)
        return NULL;
    Ensemble *trees = &self->trees;
    trees->n_features = n_features;
    trees->width = width;
    trees->combine = combine;
    trees->float32 = float32;
    int failed = -1;
    Py_buffer node_view, leaf_view, root_view;
    if (take(nodes, &node_view, "nodes", 1, sizeof(StoredNode), NULL, 0) == 0) {
        if (take(leaves, &leaf_view, "leaves", 2, sizeof(double), "d", 0) == 0) {
            if (take(roots, &root_view, "roots", 1, sizeof(int32_t), "i", 0) == 0) {
                failed = fill(trees, &node_view, &leaf_view, &root_view, base);
                PyBuffer_Release(&root_view);
            }
            PyBuffer_Release(&leaf_view);
        }
        PyBuffer_Release(&node_view);
    }
    if (failed) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static void forest_dealloc(Forest *self) {
    PyTypeObject *type = Py_TYPE((PyObject *)self);
    Ensemble *trees = &self->trees;
    PyMem_Free(trees->keys);
    PyMem_Free(trees->features);
    PyMem_Free(trees->lefts);
    PyMem_Free(trees->missing_left);
    PyMem_Free(trees->leaves);
    PyMem_Free(trees->roots);
    PyMem_Free(trees->heights);
    PyMem_Free(trees->base);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

/* evaluate(matrix, raw) -> status bits. */
static PyObject *forest_evaluate(Forest *self, PyObject *const *args, Py_ssize_t n_args) {
    const Ensemble *trees = &self->trees;
    Py_buffer matrix, raw;
    PyObject *result = NULL;
    if (n_args != 2) {
        PyErr_SetString(PyExc_TypeError, "evaluate takes a matrix and where to write");
        return NULL;
    }
    if (take(args[0], &matrix, "matrix", 2, sizeof(double), "d", 0) < 0)
        return NULL;
    if (take(args[1], &raw, "raw", 2, sizeof(double), "d", PyBUF_WRITABLE) < 0)
        goto matrix_done;
    Py_ssize_t n = matrix.shape[0];
    if (matrix.shape[1] != trees->n_features || raw.shape[0] != n || raw.shape[1] != trees->width) {
        PyErr_Format(PyExc_ValueError, "matrix (%zd, %zd) and raw (%zd, %zd) are not (n, %zd) and (n, %zd)", n,
                     matrix.shape[1], raw.shape[0], raw.shape[1], trees->n_features, trees->width);
        goto raw_done;
    }
    uint64_t stack[STACK_BYTES / 8], *scratch = stack;
    Py_ssize_t block = block_rows(trees, n), lanes = block < LANES ? LANES : block;
    if (trees->n_features > (PY_SSIZE_T_MAX / 16 - block * trees->sum_width) / lanes) {
        PyErr_NoMemory();
        goto raw_done;
    }
    Py_ssize_t keys = lanes * trees->n_features, size = 8 * (keys + block * trees->sum_width);
    if (size > STACK_BYTES && !(scratch = PyMem_Malloc((size_t)size))) {
        PyErr_NoMemory();
        goto raw_done;
    }
    double *sum = (double *)(scratch + keys);
    int seen;
    if (n > STEPS_WORTH_RELEASING / (trees->steps + trees->n_features)) {
        Py_BEGIN_ALLOW_THREADS
        seen = run_trees(trees, matrix.buf, n, scratch, sum, raw.buf);
        Py_END_ALLOW_THREADS
    } else
        seen = run_trees(trees, matrix.buf, n, scratch, sum, raw.buf);
    if (scratch != stack)
        PyMem_Free(scratch);
    result = PyLong_FromLong(seen);
raw_done:
    PyBuffer_Release(&raw);
matrix_done:
    PyBuffer_Release(&matrix);
    return result;
}

/* ---- expit and sparse products ---------------------------------------------------------------------------------- */

/* expit(values): in place, as scipy.special.expit does it for float64 (xsf: 1 / (1 + exp(-x)), the libm's exp). */
static PyObject *expit(PyObject *module, PyObject *values) {
    Py_buffer view;
    if (take(values, &view, "values", 1, sizeof(double), "d", PyBUF_WRITABLE) < 0)
        return NULL;
    double *x = view.buf;
    for (Py_ssize_t i = 0; i < view.shape[0]; i++)
        x[i] = 1 / (1 + exp(-x[i]));
    PyBuffer_Release(&view);
    Py_RETURN_NONE;
}

/* sparse_dot(matrix, coef, raw): raw[i, k] += matrix[i, j] * coef[k, j] for each matrix[i, j] != 0, j by j, as SciPy's
 * csr_matvecs and csr_matvec do for a matrix that stores its columns in order. coef, (width, p), may lie in any order. */
static PyObject *sparse_dot(PyObject *module, PyObject *const *args, Py_ssize_t n_args) {
    Py_buffer matrix, coef, raw;
    PyObject *result = NULL;
    if (n_args != 3) {
        PyErr_SetString(PyExc_TypeError, "sparse_dot takes a matrix, coefficients and where to add");
        return NULL;
    }
    if (take(args[0], &matrix, "matrix", 2, sizeof(double), "d", 0) < 0)
        return NULL;
    if (PyObject_GetBuffer(args[1], &coef, PyBUF_STRIDED_RO | PyBUF_FORMAT) < 0)
        goto matrix_done;
    if (take(args[2], &raw, "raw", 2, sizeof(double), "d", PyBUF_WRITABLE) < 0)
        goto coef_done;
    Py_ssize_t n = matrix.shape[0], p = matrix.shape[1], width = raw.shape[1];
    if (coef.ndim != 2 || !coef.format || strcmp(coef.format, "d") != 0 || raw.shape[0] != n || coef.shape[0] != width ||
        coef.shape[1] != p || coef.strides[0] % 8 || coef.strides[1] % 8) {
        PyErr_SetString(PyExc_ValueError, "matrix, coef and raw are not float64 of shapes (n, p), (width, p), (n, width)");
        goto raw_done;
    }
    Py_ssize_t by_class = coef.strides[0] / 8, by_column = coef.strides[1] / 8;
    const double *x = matrix.buf;
    double *y = raw.buf;
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t i = 0; i < n; i++, x += p, y += width)
        for (Py_ssize_t j = 0; j < p; j++) {
            if (x[j] == 0)
                continue;
            const double *column = (const double *)coef.buf + j * by_column;
            for (Py_ssize_t k = 0; k < width; k++)
                y[k] += x[j] * column[k * by_class];
        }
    Py_END_ALLOW_THREADS
    Py_INCREF(Py_None);
    result = Py_None;
raw_done:
    PyBuffer_Release(&raw);
coef_done:
    PyBuffer_Release(&coef);
matrix_done:
    PyBuffer_Release(&matrix);
    return result;
}

/* ---- module ----------------------------------------------------------------------------------------------------- */

static PyMethodDef forest_methods[] = {
    {"evaluate", (PyCFunction)(void (*)(void))forest_evaluate, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot forest_slots[] = {
    {Py_tp_new, forest_new},
    {Py_tp_dealloc, forest_dealloc},
    {Py_tp_methods, forest_methods},
    {0, NULL},
};

static PyType_Spec forest_spec = {
    .name = "fairlead_service.native.forest.Forest",
    .basicsize = sizeof(Forest),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = forest_slots,
};

static PyMethodDef functions[] = {
    {"expit", expit, METH_O, NULL},
    {"sparse_dot", (PyCFunction)(void (*)(void))sparse_dot, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static int execute(PyObject *module) {
    PyObject *type = PyType_FromModuleAndSpec(module, &forest_spec, NULL);
    if (!type)
        return -1;
    int failed = PyModule_AddType(module, (PyTypeObject *)type);
    Py_DECREF(type);
    if (failed || PyModule_AddIntConstant(module, "BEYOND_FLOAT32", BEYOND_FLOAT32) < 0 ||
        PyModule_AddIntConstant(module, "HAS_NAN", HAS_NAN) < 0 || PyModule_AddIntConstant(module, "SINGLE", SINGLE) < 0 ||
        PyModule_AddIntConstant(module, "MEAN", MEAN) < 0 || PyModule_AddIntConstant(module, "SUM", SUM) < 0)
        return -1;
    return 0;
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, execute}, {0, NULL}};

static PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "fairlead_service.native.forest", .m_methods = functions, .m_slots = slots,
};

PyMODINIT_FUNC PyInit_forest(void) { return PyModuleDef_Init(&definition); }
