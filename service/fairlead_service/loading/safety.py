"""Which types a skops file may bring to life, and how large it may grow.

A skops file carries a list of types that its author says to trust; that is the author's own claim and is not read.
What is allowed is skops' built-in list (estimators, ufuncs, plain containers) and the names below. Each was looked
at: it is a data holder, or a pure function of arrays. That keeps out types and functions of the author's choice; it is
no wall, because the *contents* of allowed types are the author's, and libraries trust them (SECURITY.md). Types whose
contents native code is known to trust blindly are marked; `structure` checks those contents after loading.
"""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from fairlead_service.failures import LoadError, corrupt, refused

ALLOWED_TYPES: Final = frozenset(
    {
        "numpy.dtype",
        # categories of histogram boosting: `check_array` with fixed options
        "functools.partial",
        "sklearn.utils.validation.check_array",
        # trees, forests, boosting; contents checked by `structure`
        "sklearn.tree._tree.Tree",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        # nearest neighbours; contents of the trees checked by `structure`
        "sklearn.neighbors._kd_tree.KDTree",
        "sklearn.neighbors._kd_tree.KDTree64",
        "sklearn.neighbors._kd_tree.KDTree32",
        "sklearn.neighbors._ball_tree.BallTree",
        "sklearn.neighbors._ball_tree.BallTree64",
        "sklearn.neighbors._ball_tree.BallTree32",
        "sklearn.metrics._dist_metrics.EuclideanDistance64",
        "sklearn.metrics._dist_metrics.EuclideanDistance32",
        "sklearn.metrics._dist_metrics.ManhattanDistance64",
        "sklearn.metrics._dist_metrics.ManhattanDistance32",
        "sklearn.metrics._dist_metrics.ChebyshevDistance64",
        "sklearn.metrics._dist_metrics.ChebyshevDistance32",
        # losses of linear models and boosting
        "sklearn._loss.loss.HalfTweedieLoss",
        "sklearn._loss.loss.HalfTweedieLossIdentity",
        # calibration, one-vs-rest, threshold
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.calibration._TemperatureScaling",
        "sklearn.multiclass._ConstantPredictor",
        # Gaussian processes
        "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
        "sklearn.gaussian_process.kernels.ConstantKernel",
        "sklearn.gaussian_process.kernels.DotProduct",
        "sklearn.gaussian_process.kernels.Matern",
        "sklearn.gaussian_process.kernels.Product",
        "sklearn.gaussian_process.kernels.RBF",
        "sklearn.gaussian_process.kernels.RationalQuadratic",
        "sklearn.gaussian_process.kernels.Sum",
        "sklearn.gaussian_process.kernels.WhiteKernel",
        # neural networks: the optimisers hold moments only
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
        # voting and stacking: a dict with attribute access
        "sklearn.utils._bunch.Bunch",
        # searches: splitters and the scorer that calls the estimator's own `score`
        "sklearn.metrics._scorer._PassthroughScorer",
        "sklearn.model_selection._split.KFold",
        "sklearn.model_selection._split.StratifiedKFold",
        # splines
        "scipy.interpolate._bsplines.BSpline",
        "scipy._lib.array_api_compat.numpy._aliases.asarray",
        # feature selection scores: pure functions of (X, y)
        "sklearn.feature_selection._univariate_selection.chi2",
        "sklearn.feature_selection._univariate_selection.f_classif",
        "sklearn.feature_selection._univariate_selection.f_regression",
        "sklearn.feature_selection._univariate_selection.r_regression",
        "sklearn.feature_selection._mutual_info.mutual_info_classif",
        "sklearn.feature_selection._mutual_info.mutual_info_regression",
    }
)

SCHEMA_BYTES: Final = 256 * 2**20
"""Limit of a skops file's schema, which takes many times its size once parsed. A forest of 100 trees has 1 MB."""


def check_archive(path: Path, limit: int) -> None:
    """Refuses a skops file that would unpack to more than `limit` bytes in memory.

    What counts is every reference from its schema, not every member: a file may name one member many times.
    Raises LoadError: ModelCorrupt if it is no skops file, ModelRefused if it is too large.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {member.filename: member.file_size for member in archive.infolist()}
            _cap(sum(sizes.values()), limit)
            for name in sizes:
                if name.endswith(".npz"):  # sparse matrices are archives in the archive
                    with zipfile.ZipFile(archive.open(name)) as inner:
                        sizes[name] += sum(member.file_size for member in inner.infolist())
            _cap(sizes["schema.json"], min(limit, SCHEMA_BYTES))
            schema = json.loads(archive.read("schema.json"))
        _cap(sum(sizes.get(name, 0) for name in _references(schema)), limit)
    except (LoadError, MemoryError):
        raise
    except Exception as error:  # what anyone may have written
        raise corrupt(f"{path.name} is not a whole skops file: {type(error).__name__}: {error}") from error


def needed_types(path: Path) -> tuple[str, ...]:
    """Types in a skops file beyond those skops itself trusts, sorted; constructs nothing.

    Raises LoadError(ModelCorrupt) if the file does not parse.
    """
    import skops.io

    try:
        return tuple(sorted(skops.io.get_untrusted_types(file=path)))
    except Exception as error:  # skops reads what anyone may have written: any exception means that it does not parse
        raise corrupt(f"{path.name} does not parse as a skops file: {type(error).__name__}: {error}") from error


def check_types(types: tuple[str, ...]) -> None:
    """Raises LoadError(ModelRefused) naming every type outside the allow-list."""
    strange = sorted(set(types) - ALLOWED_TYPES)
    if strange:
        raise refused(
            f"the model needs types that Fairlead does not allow: {', '.join(strange[:20])}; use scikit-learn's own "
            "estimators. If their code is in this image and you trust whoever logs the model, log it with "
            "serialization_format='cloudpickle' and set allowPickle, which does not open skops files of other types"
        )


def _cap(size: int, limit: int) -> None:
    if size > limit:
        raise refused(f"the model unpacks to {size / 2**20:.0f} MiB, more than the {limit / 2**20:.0f} MiB allowed")


def _references(schema: Any) -> Iterator[str]:
    """The archive members that a schema names, as often as it names them."""
    waiting = [schema]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            if isinstance(node.get("file"), str):
                yield node["file"]
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)
