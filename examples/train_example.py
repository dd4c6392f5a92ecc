#!/usr/bin/env python3
"""Trains every algorithm on the breast-cancer data, compares them, and loads the best one for serving.

Needs Fairlead's Python client (in a checkout: `make setup`, else `pip install 'fairlead[client]'`) and its API:

    make run                                              # or: kubectl port-forward service/fairlead-api 8000
    .venv/bin/python examples/train_example.py --url http://127.0.0.1:8000
"""

import argparse
import sys

from breast_cancer import ALGORITHMS, DATA, hits, read_data

from fairlead import ApiError, Client, Training, UnreachableError


def table(trainings: list[Training]) -> str:
    """One line an algorithm, best first."""
    lines = [f"{'algorithm':<22}{'accuracy':>10}{'f1':>10}{'seconds':>10}   run"]
    for one in trainings:
        lines.append(
            f"{one.algorithm:<22}{one.metrics['accuracy']:>10.4f}{one.metrics['f1']:>10.4f}"
            f"{one.duration_seconds:>10.1f}   {one.run_id}"
        )
    return "\n".join(lines)


def compare(fairlead: Client, rows: list[list[float]], labels: list[str], names: list[str]) -> list[Training]:
    """Trains each algorithm without loading it yet; the best first."""
    trainings = []
    for algorithm, hyperparameters in ALGORITHMS.items():
        print(f"training {algorithm} …", flush=True)
        options = {"feature_names": names, "experiment": "breast-cancer", "load": False}
        trainings.append(fairlead.train(rows, labels, algorithm=algorithm, hyperparameters=hyperparameters, **options))
    return sorted(trainings, key=lambda one: one.metrics["accuracy"], reverse=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="where the API answers (FAIRLEAD_URL, or http://127.0.0.1:8000)")
    url = parser.parse_args().url
    rows, labels, names = read_data(DATA)
    print(f"{len(rows)} rows, {len(names)} features, {len(set(labels))} classes from {DATA.name}\n")
    try:
        with Client(url) as fairlead:
            trainings = compare(fairlead, rows, labels, names)
            print("\n" + table(trainings) + "\n")
            fairlead.load(trainings[0].run_id)
            answer = fairlead.predict(rows)
    except UnreachableError as error:
        print(f"error: {error}; start an API with: make run", file=sys.stderr)
        return 1
    except ApiError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{trainings[0].algorithm} serves as run {answer.run_id}")
    print(hits(answer.predictions, labels))
    return 0


if __name__ == "__main__":
    sys.exit(main())
