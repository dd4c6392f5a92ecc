#!/usr/bin/env python3
"""Trains every algorithm on the breast-cancer data, compares them, and loads the best one for serving.

Needs nothing but Python and a Fairlead API:

    make run                                              # or: kubectl port-forward service/fairlead-api 8000
    python examples/train_example.py --url http://127.0.0.1:8000
"""

import argparse
import csv
import json
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data" / "breast_cancer.csv"
ALGORITHMS: dict[str, dict[str, Any]] = {
    "random_forest": {"n_estimators": 100, "max_depth": 10},
    "gradient_boosting": {"n_estimators": 100, "learning_rate": 0.1},
    "logistic_regression": {"C": 1.0, "max_iter": 1000},
}
TRAIN_SECONDS = 300


class ApiError(Exception):
    """The API refused a request, or did not answer; the message is for the person at the terminal."""


def call(url: str, method: str, path: str, body: object = None, timeout: float = 30) -> Any:
    """One request to the API; returns the decoded JSON answer."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data, {"content-type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        raise ApiError(f"{method} {path} answered {error.code}: {problem(error.read())}") from error
    except OSError as error:
        raise ApiError(f"no Fairlead API answers at {url} ({error}); start one with: make run") from error


def problem(body: bytes) -> str:
    """The `detail` of a problem document, or whatever else was answered."""
    try:
        return str(json.loads(body)["detail"])
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace")[:300]


def read_data(path: Path) -> tuple[list[list[float]], list[str], list[str]]:
    """Reads a CSV whose last column is the label: rows (n, p), labels (n), names of the p features."""
    with path.open(newline="") as file:
        header, *records = csv.reader(file)
    return [[float(value) for value in record[:-1]] for record in records], [r[-1] for r in records], header[:-1]


def train(url: str, algorithm: str, rows: list[list[float]], labels: list[str], names: list[str]) -> Any:
    """Trains one algorithm without loading it yet."""
    body = {
        "data": rows,
        "target": labels,
        "feature_names": names,
        "algorithm": algorithm,
        "hyperparameters": ALGORITHMS[algorithm],
        "experiment": "breast-cancer",
        "load": False,
    }
    return call(url, "POST", "/train", body, TRAIN_SECONDS)


def table(answers: list[Any]) -> str:
    """One line an algorithm, best first."""
    lines = [f"{'algorithm':<22}{'accuracy':>10}{'f1':>10}{'seconds':>10}   run"]
    for answer in answers:
        metrics = answer["metrics"]
        lines.append(
            f"{answer['algorithm']:<22}{metrics['accuracy']:>10.4f}{metrics['f1']:>10.4f}"
            f"{answer['duration_seconds']:>10.1f}   {answer['run_id']}"
        )
    return "\n".join(lines)


def hits(answer: Any, labels: list[str]) -> str:
    """A line about how many predictions of a /predict answer are the labels."""
    right = sum(told == label for told, label in zip(answer["predictions"], labels, strict=True))
    return f"{right} of {len(labels)} rows named rightly (its training rows among them)"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="where the API answers (%(default)s)")
    url = parser.parse_args().url.rstrip("/")
    rows, labels, names = read_data(DATA)
    print(f"{len(rows)} rows, {len(names)} features, {len(set(labels))} classes from {DATA.name}\n")
    try:
        answers = []
        for algorithm in ALGORITHMS:
            print(f"training {algorithm} …", flush=True)
            answers.append(train(url, algorithm, rows, labels, names))
        answers.sort(key=lambda answer: answer["metrics"]["accuracy"], reverse=True)
        print("\n" + table(answers) + "\n")
        best = answers[0]
        call(url, "POST", f"/model/load/{best['run_id']}", timeout=TRAIN_SECONDS)
        answer = call(url, "POST", "/predict", {"features": rows})
    except ApiError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{best['algorithm']} serves as run {answer['run_id']}")
    print(hits(answer, labels))
    return 0


if __name__ == "__main__":
    sys.exit(main())
