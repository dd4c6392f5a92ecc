"""What can be seen of a trained model, as figures for its MLflow run.

Drawn without pyplot's state; what can't be drawn for a model is left out.
"""

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from fairlead_service.training.metrics import Scored

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_CLASSES: Final = 30
MAX_BARS: Final = 30
_PERMUTED_ROWS: Final = 500
_PERMUTED_FEATURES: Final = 100
_INCHES: Final = (6.4, 4.8)


def draw(found: Scored, feature_names: Sequence[str] | None, random_state: int) -> Iterator[tuple[str, "Figure"]]:
    """(file name, figure): confusion_matrix and roc_curve or predicted_vs_actual, and feature_importance."""
    os.environ.setdefault("MPLBACKEND", "agg")
    if found.classes is None:
        yield "predicted_vs_actual.png", _predicted(found)
    else:
        if len(found.classes) <= MAX_CLASSES:
            yield "confusion_matrix.png", _confusion(found)
            roc = _roc(found)
            if roc is not None:
                yield "roc_curve.png", roc
    named = importance(found, random_state)
    if named is not None:
        yield "feature_importance.png", _bars(*named, feature_names)


def importance(found: Scored, random_state: int) -> "tuple[str, np.ndarray[Any, Any]] | None":
    """What the numbers are, and one of them a feature, shape (p,).

    A forest's own impurity decreases; the mean absolute coefficient of a linear model, which is comparable where
    features are scaled; else the accuracy or R² that is lost when a feature is shuffled, on some hundred rows.
    """
    import numpy as np

    features = found.x.shape[1]
    last = getattr(found.estimator, "steps", [(None, found.estimator)])[-1][1]
    impurity = getattr(last, "feature_importances_", None)
    if impurity is not None and len(impurity) == features:
        return "mean decrease in impurity", np.asarray(impurity)
    coefficients = getattr(last, "coef_", None)
    if coefficients is not None and np.shape(coefficients)[-1] == features:
        return "mean |coefficient|", np.abs(np.atleast_2d(coefficients)).mean(axis=0)
    if features > _PERMUTED_FEATURES:
        return None
    from sklearn.inspection import permutation_importance

    rows = np.random.default_rng(random_state).permutation(len(found.x))[:_PERMUTED_ROWS]
    x, y = found.x[rows], found.y[rows]
    shuffled = permutation_importance(found.estimator, x, y, n_repeats=3, random_state=random_state)
    return "loss of score when shuffled", np.asarray(shuffled["importances_mean"])


def _axes() -> "tuple[Figure, Axes]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=_INCHES, layout="constrained")
    return figure, figure.add_subplot()


def _confusion(found: Scored) -> "Figure":
    from sklearn.metrics import ConfusionMatrixDisplay

    assert found.classes is not None
    figure, axes = _axes()
    many = len(found.classes) > 8
    ConfusionMatrixDisplay.from_predictions(
        found.y,
        found.predicted,
        labels=found.classes,
        ax=axes,
        cmap="Blues",
        colorbar=many,
        include_values=not many,
        xticks_rotation=45 if many or max(len(str(label)) for label in found.classes) > 8 else "horizontal",
    )
    axes.set_title(f"Confusion matrix, {len(found.y)} rows")
    return figure


def _roc(found: Scored) -> "Figure | None":
    """One curve for two classes, else one a class against the rest."""
    import numpy as np
    from sklearn.metrics import RocCurveDisplay

    assert found.classes is not None
    figure, axes = _axes()
    if found.scores is not None:
        curves = [(str(found.classes[1]), found.y == found.classes[1], found.scores)]
    elif found.probabilities is not None:
        curves = [
            (str(label), found.y == label, found.probabilities[:, column]) for column, label in enumerate(found.classes)
        ]
    else:
        return None
    drawn = [curve for curve in curves if 0 < np.count_nonzero(curve[1]) < len(curve[1])]
    if not drawn:
        return None
    for label, hit, score in drawn:
        RocCurveDisplay.from_predictions(hit, score, name=label[:30], ax=axes)
    axes.plot([0, 1], [0, 1], linestyle=":", color="gray", label="chance")
    axes.legend(loc="lower right", fontsize="small")
    axes.set_title(f"ROC curve, {len(found.y)} rows")
    axes.set_xlabel("false positive rate")
    axes.set_ylabel("true positive rate")
    return figure


def _predicted(found: Scored) -> "Figure":
    figure, axes = _axes()
    axes.scatter(found.y, found.predicted, s=8, alpha=0.5)
    ends = [float(min(found.y.min(), found.predicted.min())), float(max(found.y.max(), found.predicted.max()))]
    axes.plot(ends, ends, linestyle=":", color="gray")
    axes.set_xlabel("actual")
    axes.set_ylabel("predicted")
    axes.set_title(f"Predicted against actual, {len(found.y)} rows")
    return figure


def _bars(what: str, values: "np.ndarray[Any, Any]", names: Sequence[str] | None) -> "Figure":
    import numpy as np

    figure, axes = _axes()
    largest = np.argsort(values)[-MAX_BARS:]
    labels = [(names[i] if names is not None else f"feature {i}")[:30] for i in largest]
    axes.barh(np.arange(len(largest)), values[largest])
    axes.set_yticks(np.arange(len(largest)), labels, fontsize="small")
    axes.set_xlabel(what)
    axes.set_title("Feature importance" + (f", the first {MAX_BARS}" if len(values) > MAX_BARS else ""))
    return figure
