"""More than two hundred small models of all kinds that are compiled, each compared with scikit-learn bit for bit.

`python -m tests.unit.service.native.corpus` does it under any scikit-learn that is installed.
"""

import itertools
import pickle
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sklearn
from sklearn.base import clone, is_classifier
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, OrthogonalMatchingPursuitCV, Ridge
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    RobustScaler,
    StandardScaler,
)

from fairlead_service.loading import rows
from fairlead_service.loading.compile import Compiled, compile_model
from fairlead_service.loading.compile.linear import COMPILERS as LINEAR
from fairlead_service.loading.compile.trees import COMPILERS as TREES
from fairlead_service.models.backends import Backend, Want
from fairlead_service.models.backends.native.program import Linear
from tests.unit.service.native.compared import difference, difference_together, open_native

WIDTH = 5
_SEEN = 60
_ROWS = 150
_FEW = {
    "n_estimators": 4,
    "max_depth": 4,
    "max_iter": 6,
    "max_subpopulation": 30,
    "random_state": 0,
    "cv": 2,
    "use_legacy_attributes": False,
}


@dataclass(frozen=True)
class Case:
    name: str
    model: Any
    """Fitted, and stored and loaded once."""
    missing: bool


def cases() -> Iterator[Case]:
    """All models, always the same."""
    for kind, missing in itertools.product([*TREES, *LINEAR], [False, True]):
        for classes in (2, 3) if is_classifier(kind()) else (0,):
            yield from _case(_small(kind), classes, missing)
    for (name, steps), final in itertools.product(_preparations(), _finals()):
        for missing in (False, True):
            yield from _case(make_pipeline(*map(clone, steps), final), 3, missing, name)


def problems(case: Case, directory: Path) -> list[str]:
    """What differs from scikit-learn: in all rows at once, in some alone, and in all of these in one call."""
    compiled = compile_model(case.model)
    assert isinstance(compiled, Compiled)
    backend = open_native(case.model, directory, WIDTH)
    sets = rows.for_program(compiled.program, compiled.arrays, case.model, None, WIDTH, missing=case.missing)
    sets = [rows.RowSet(part.kind, np.ascontiguousarray(part.matrix[:_ROWS])) for part in sets]
    extremes = rows.largest(sets[0].matrix[:1])
    joined = rows.RowSet("all rows", np.vstack([part.matrix for part in sets]))
    # Sums depend on the matrix's shape; trees answer row by row, which one set shows.
    alone = [*sets, extremes[0]] if isinstance(compiled.program.estimator, Linear) else sets[:1]
    asked = [
        *([joined] if _answers(backend, joined.matrix) else sets),
        *extremes,
        *(rows.RowSet(f"the first of {part.kind}", part.matrix[:1]) for part in alone),
        *(rows.RowSet(f"the last of {part.kind}", part.matrix[-2:]) for part in alone),
    ]
    answers = [(part.kind, difference(case.model, backend, part.matrix)) for part in asked]
    answers.append(("all of them", difference_together(case.model, backend, [part.matrix for part in asked])))
    return [f"{case.name}: {kind}: {what}" for kind, what in answers if what is not None]


def _answers(backend: Backend, matrix: Any) -> bool:
    """Whether nothing is refused, which would leave the other rows unseen."""
    try:
        backend.evaluate(matrix, Want())
    except ValueError:
        return False
    return True


def compare_all(directory: Path) -> tuple[int, list[str]]:
    """How many models were compared, and all differences."""
    number, found = 0, []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number, case in enumerate(cases(), 1):
            found += problems(case, directory / str(number))
    return number, found


def _case(model: Any, classes: int, missing: bool, prepared: str = "") -> Iterator[Case]:
    """The fitted model, if scikit-learn fits it on such data and it is compiled."""
    x = _training(missing)
    y = np.arange(_SEEN) % classes if is_classifier(model) else np.abs(np.nan_to_num(x) @ np.arange(1.0, WIDTH + 1)) + 1
    by_name = prepared.endswith("by name")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(pd.DataFrame(x, columns=list("abcde")) if by_name else x, y)
    except (ValueError, TypeError):
        return
    model = pickle.loads(pickle.dumps(model))
    if isinstance(compile_model(model), Compiled):
        final = type(model[-1] if prepared else model).__name__
        yield Case(f"{prepared} {final}, {classes} classes, missing {missing}", model, missing)


def _training(missing: bool) -> Any:
    rng = np.random.default_rng(7)
    x = rng.normal(size=(_SEEN, WIDTH)) * 10.0 ** np.arange(-2, 3)
    x[:, 0] = rng.integers(0, 4, _SEEN)
    if missing:
        x[rng.random(x.shape) < 0.1] = np.nan
    return x


def _small(kind: type) -> Any:
    model = kind()
    if kind is OrthogonalMatchingPursuitCV:
        return model
    return model.set_params(**{name: _FEW[name] for name in _FEW if name in model.get_params()})


def _finals() -> list[Any]:
    names = ["RandomForestClassifier", "DecisionTreeRegressor", "HistGradientBoostingClassifier", "ExtraTreesRegressor"]
    trees = [_small(kind) for kind in TREES if kind.__name__ in names]
    boosted = [_small(GradientBoostingClassifier), _small(GradientBoostingRegressor)]
    return [*trees, *boosted, LogisticRegression(max_iter=5), LinearRegression(), Ridge()]


def _preparations() -> list[tuple[str, list[Any]]]:
    filled = make_pipeline(SimpleImputer(add_indicator=True), StandardScaler())
    encoder = OneHotEncoder(handle_unknown="ignore")
    ordinal = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2)
    numbers = [1, 2, 3, 4]
    mixed = [("numbers", filled, numbers), ("codes", encoder, [0])]
    union = FeatureUnion([("scaled", MinMaxScaler(clip=True)), ("robust", RobustScaler())])
    named = [("scaled", StandardScaler(), ["d", "b"]), ("codes", ordinal, ["a"])]
    return [
        ("standard", [StandardScaler()]),
        ("robust", [SimpleImputer(strategy="median"), RobustScaler()]),
        ("largest", [SimpleImputer(strategy="constant", fill_value=-1), MaxAbsScaler()]),
        ("polynomial", [SimpleImputer(), PolynomialFeatures(2), StandardScaler()]),
        ("mixed", [ColumnTransformer(mixed)]),
        ("sparse", [ColumnTransformer(mixed, sparse_threshold=1.0)]),
        ("codes", [ColumnTransformer([("codes", ordinal, [0])], remainder="passthrough"), SimpleImputer()]),
        ("union", [SimpleImputer(), union]),
        ("slices", [ColumnTransformer([("a", MinMaxScaler(), slice(1, 4)), ("b", StandardScaler(), [2, 0])])]),
        ("by name", [ColumnTransformer(named, remainder="passthrough"), SimpleImputer()]),
    ]


def main() -> int:
    with tempfile.TemporaryDirectory() as directory:
        number, found = compare_all(Path(directory))
    sys.stdout.write("".join(f"{line}\n" for line in found))
    if not found:
        sys.stdout.write(f"{number} models identical, scikit-learn {sklearn.__version__}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
