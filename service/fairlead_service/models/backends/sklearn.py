"""Serves by scikit-learn itself: the only module on the server's side that imports a model library, on first use."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import skops.io

from fairlead_service.models.backends import Matrix, Outputs, Want
from fairlead_service.models.bundle import SKOPS_FILE, Bundle

# A model fitted on a DataFrame warns on each matrix; the columns' order is checked by their number.
warnings.filterwarnings("ignore", message="X does not have valid feature names", category=UserWarning)
# Numbers beyond float32: scikit-learn raises ValueError right after it, which is the client's answer.
warnings.filterwarnings("ignore", message="overflow encountered in cast", category=RuntimeWarning)


class SklearnBackend:
    name = "sklearn"

    def __init__(self, bundle: Bundle) -> None:
        trusted = list(bundle.manifest.trusted_types)
        self._model: Any = skops.io.load(bundle.path(SKOPS_FILE), trusted=trusted)
        run_in_one_thread(self._model)

    def evaluate(self, matrix: Matrix, want: Want, ends: Sequence[int] = ()) -> Outputs:
        return ask(self._model, matrix, want)


def ask(model: Any, matrix: Matrix, want: Want) -> Outputs:
    """scikit-learn's own answers of a fitted estimator."""
    return Outputs(
        np.asarray(model.predict(matrix)),
        np.asarray(model.predict_proba(matrix)) if want.probabilities else None,
        np.asarray(model.decision_function(matrix)) if want.scores else None,
    )


def run_in_one_thread(model: Any) -> None:
    """Forests that predict in several threads add their trees up in the order they finish, so the last bit varies
    from call to call; and the server has threads of its own."""
    names = [name for name in model.get_params(deep=True) if name == "n_jobs" or name.endswith("__n_jobs")]
    if names:
        model.set_params(**dict.fromkeys(names, 1))
