"""Which backend serves a model: the compiled program if it is proven to answer as scikit-learn, else the latter."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fairlead_service import native
from fairlead_service.failures import unsupported
from fairlead_service.loading.estimator import Opened
from fairlead_service.loading.example import Rows
from fairlead_service.loading.framed import takes_matrices
from fairlead_service.loading.proof import scores_fit, self_test
from fairlead_service.loading.traits import Traits
from fairlead_service.models import bundle
from fairlead_service.models.bundle import Manifest, Proof
from fairlead_service.observability.stages import stage

if TYPE_CHECKING:
    from fairlead_service.loading.comparison import Different, Identical, Reference
    from fairlead_service.loading.compile import Compiled
    from fairlead_service.models.backends import Want

NO_KERNEL: Final = "the compiled kernel is not installed in this image; install Fairlead where there is a C compiler"
_ROWS_OF_FALLBACK: Final = 48
_SINGLE_TREES: Final = 1200
"""Trees to evaluate for rows alone; each call of scikit-learn costs about 50 µs a tree."""


@dataclass(frozen=True)
class Choice:
    """A whole manifest but for the digests of its files, and the files."""

    manifest: Manifest
    files: Mapping[str, bytes]


def choose(opened: Opened, found: Traits, draft: Manifest, scratch: Path, say: Callable[[str], None]) -> Choice:
    """Tests the model, compiles it and proves that against the estimator, or says why scikit-learn has to serve it.

    `draft` is a manifest as it is when scikit-learn serves, but for the proof; `scratch` is a directory for files that
    nobody needs afterwards. Raises LoadError(SelfTestFailed).
    """
    from fairlead_service.loading.comparison import Reference, steady
    from fairlead_service.loading.rows import for_fallback

    estimator, example = takes_matrices(opened.estimator), _placed(draft)
    tested = self_test(estimator, found, example)
    draft = draft.model_copy(update={"has_scores": found.has_scores and scores_fit(estimator, found, example)})
    reference = Reference(estimator)
    chosen = _native(opened, draft, example, reference, scratch)
    if isinstance(chosen, Choice):
        say(f"compiled: on {chosen.manifest.proof.rows} rows the answers are scikit-learn's own, bit for bit")
        return chosen
    say(f"served by scikit-learn: {chosen}")
    if estimator is not opened.estimator:
        raise unsupported(
            f"the model selects columns by their names (strings), for which scikit-learn takes DataFrames only, and it "
            f"cannot be compiled: {chosen}; select them by number (ColumnTransformer(…, [0, 2])) instead"
        )
    rows = for_fallback(opened.estimator, example, found.columns.fitted_width, _ROWS_OF_FALLBACK)
    proof = tested.model_copy(update={"batches": steady(reference, _want(draft), rows)})
    manifest = draft.model_copy(update={"fallback_reason": chosen, "proof": proof})
    return Choice(manifest, {bundle.SKOPS_FILE: opened.skops})


def _placed(draft: Manifest) -> Rows | None:
    """The input example in all columns that the estimator was fitted on."""
    import numpy as np

    from fairlead_service.models.backends import place

    if draft.input_example is None or draft.placement is None:
        return draft.input_example
    return tuple(map(tuple, place(np.array(draft.input_example, np.float64), draft.placement).tolist()))


def _native(
    opened: Opened, draft: Manifest, example: Rows | None, reference: "Reference", scratch: Path
) -> Choice | str:
    """The choice of the native backend, or why it cannot be."""
    if not native.available():
        return NO_KERNEL
    from fairlead_service.loading.comparison import Different
    from fairlead_service.loading.compile import NotCompiled, compile_model
    from fairlead_service.models.backends.native.program import PROGRAM_FORMAT, encode

    try:
        with stage("compile"):
            compiled = compile_model(opened.estimator)
            if isinstance(compiled, NotCompiled):
                return compiled.reason
            files = encode(compiled.program, compiled.arrays)
        draft = draft.model_copy(update={"backend": "native", "program_format": PROGRAM_FORMAT})
        with stage("prove"):
            proven = _prove(opened, compiled, files, draft, example, reference, scratch)
    except Exception as error:  # a model that the compiler or the kernel stumbles over is still scikit-learn's to serve
        return f"the compiler fails on it: {type(error).__name__}: {error}"
    if isinstance(proven, Different):
        return f"its compiled form does not answer as scikit-learn does: {proven.what}"
    proof = Proof(rows=proven.rows, verdict="identical", batches=proven.batches)
    return Choice(draft.model_copy(update={"proof": proof}), files)


def _prove(
    opened: Opened,
    compiled: "Compiled",
    files: Mapping[str, bytes],
    draft: Manifest,
    example: Rows | None,
    reference: "Reference",
    scratch: Path,
) -> "Identical | Different":
    """Opens the program as the server would, and compares, in all columns that the estimator was fitted on."""
    from threadpoolctl import threadpool_limits

    from fairlead_service.loading import rows
    from fairlead_service.loading.comparison import compare
    from fairlead_service.models.backends.native.backend import NativeBackend
    from fairlead_service.models.backends.native.program import Trees

    bundle.write(scratch / "compiled", draft, files)
    backend = NativeBackend(bundle.read(scratch / "compiled"))
    program, width = compiled.program, draft.n_features if draft.placement is None else draft.placement.width
    sets = rows.for_program(program, compiled.arrays, opened.estimator, example, width, missing=draft.accepts_missing)
    trees = program.estimator if isinstance(program.estimator, Trees) else None
    single = 24 if trees is None else max(4, min(24, _SINGLE_TREES // len(compiled.arrays[trees.roots])))
    with threadpool_limits(1):  # small batches: threads would only wait for each other
        return compare(reference, backend, _want(draft), sets, rows.largest(sets[0].matrix[:1]), single)


def _want(manifest: Manifest) -> "Want":
    from fairlead_service.models.backends import Want

    return Want(manifest.has_probabilities, manifest.has_scores)
