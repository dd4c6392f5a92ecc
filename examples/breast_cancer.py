"""The breast-cancer data of the examples, and what is trained on them. Needs nothing but Python."""

import csv
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data" / "breast_cancer.csv"
ALGORITHMS: dict[str, dict[str, Any]] = {
    "random_forest": {"n_estimators": 100, "max_depth": 10},
    "gradient_boosting": {"n_estimators": 100, "learning_rate": 0.1},
    "logistic_regression": {"C": 1.0, "max_iter": 1000},
}


def read_data(path: Path) -> tuple[list[list[float]], list[str], list[str]]:
    """Reads a CSV whose last column is the label: rows (n, p), labels (n), names of the p features."""
    with path.open(newline="") as file:
        header, *records = csv.reader(file)
    return [[float(value) for value in record[:-1]] for record in records], [r[-1] for r in records], header[:-1]


def hits(predictions: list[Any], labels: list[str]) -> str:
    """A line about how many predictions are the labels."""
    right = sum(told == label for told, label in zip(predictions, labels, strict=True))
    return f"{right} of {len(labels)} rows named rightly (its training rows among them)"
