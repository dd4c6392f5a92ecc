"""Measures the native kernel against scikit-learn: the raw values of tree ensembles, for one row and for many.

    .venv/bin/python -m benchmarks.kernel

Prints a Markdown table for docs/measurements.md, with machine and date. Times are the least of several rounds, because
whatever else the machine does only adds; answers are compared bit for bit first.
"""

import platform
import timeit
from collections.abc import Callable
from datetime import date
from os import cpu_count
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_iris
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.tree import DecisionTreeClassifier

from fairlead_service.loading.compile import Compiled, compile_model
from fairlead_service.models.backends.native.program import Trees
from fairlead_service.models.backends.native.trees import build_trees

MODELS = {
    "random forest, 100 trees of depth 10": RandomForestClassifier(100, max_depth=10, random_state=0),
    "gradient boosting, 300 trees": GradientBoostingClassifier(random_state=0),
    "histogram gradient boosting, 300 trees": HistGradientBoostingClassifier(random_state=0),
    "decision tree": DecisionTreeClassifier(random_state=0),
}
ROWS = (1, 32, 1024)
ROUNDS = 7
SECONDS = 0.05
"""What a round should take."""


def microseconds(call: Callable[[], object]) -> float:
    timer = timeit.Timer(call)
    once = timer.timeit(1)
    times = max(1, int(SECONDS / once))
    return min(timer.repeat(ROUNDS, times)) / times * 1e6


def kernel(estimator: Any, n_features: int) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    compiled = compile_model(estimator)
    if not isinstance(compiled, Compiled) or not isinstance(compiled.program.estimator, Trees):
        raise TypeError(f"{estimator} is not compiled to trees: {compiled}")
    return build_trees(compiled.program.estimator, compiled.arrays, n_features)


def main() -> None:
    rows, target = load_iris(return_X_y=True)
    many = np.random.default_rng(0).uniform(rows.min(axis=0), rows.max(axis=0), (max(ROWS), rows.shape[1]))
    print(f"{date.today()}, {platform.machine()}, {cpu_count()} processors, Python {platform.python_version()}\n")
    print("| model (iris) | rows | kernel, µs | scikit-learn, µs | ratio |\n|---|---:|---:|---:|---:|")
    for name, model in MODELS.items():
        model.fit(rows, target)
        evaluate = kernel(model, rows.shape[1])
        theirs = getattr(model, "decision_function", model.predict_proba)
        if evaluate(many).tobytes() != np.asarray(theirs(many)).tobytes():
            raise SystemExit(f"{name}: the answers differ")
        for n in ROWS:
            part = many[:n].copy()
            ours, other = microseconds(lambda: evaluate(part)), microseconds(lambda: theirs(part))  # noqa: B023
            print(f"| {name} | {n} | {ours:.1f} | {other:.0f} | {other / ours:.0f} |")


if __name__ == "__main__":
    main()
