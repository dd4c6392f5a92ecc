"""`make run` and the training example, as a newcomer meets them."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sklearn.datasets import load_breast_cancer

from examples.breast_cancer import DATA, read_data
from tools import ports
from tools.localcluster.controlplane import free_port

ROOT = Path(__file__).parents[2]


def command(directory: Path, api_port: int | str, mlflow_port: int | str) -> "subprocess.Popen[str]":
    uncovered = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    environment = {**uncovered, "API_PORT": str(api_port), "MLFLOW_PORT": str(mlflow_port), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "tools.run"],
        cwd=directory,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """`make run` on free ports, in a directory of its own, until both answer."""
    api_port, mlflow_port = free_port(), free_port()
    with command(tmp_path_factory.mktemp("run"), api_port, mlflow_port) as process:
        assert process.stdout is not None
        printed = []
        for line in process.stdout:
            printed.append(line)
            for port in (api_port, mlflow_port):  # from the first word on, no other program can take it
                with pytest.raises(OSError, match="in use"):
                    ports.listen(port)
            if "Ctrl-C" in line:
                break
        assert "Ctrl-C" in printed[-1], "".join(printed)
        yield process, f"http://127.0.0.1:{api_port}"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


def test_the_example_trains_three_algorithms_and_serves_the_best(running: tuple["subprocess.Popen[str]", str]) -> None:
    _, url = running
    example = [sys.executable, "examples/train_example.py", "--url", url]

    done = subprocess.run(example, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False)

    assert done.returncode == 0, done.stderr
    for algorithm in ("random_forest", "gradient_boosting", "logistic_regression"):
        assert f"\n{algorithm} " in done.stdout
    assert "serves as run" in done.stdout


def test_the_notebook_runs_from_its_first_cell_to_its_last(running: tuple["subprocess.Popen[str]", str]) -> None:
    environment = {**os.environ, "FAIRLEAD_URL": running[1]}

    done = subprocess.run(
        [sys.executable, "examples/notebook.py"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "Succeeded" in done.stdout
    assert "champion is version 1" in done.stdout


def test_a_taken_port_is_named(running: tuple["subprocess.Popen[str]", str], tmp_path: Path) -> None:
    taken = running[1].rpartition(":")[2]
    with command(tmp_path, taken, free_port()) as second:
        output, _ = second.communicate(timeout=30)
    assert second.returncode == 1
    assert f"port {taken} is taken" in output
    assert "API_PORT=" in output


@pytest.mark.parametrize("port", ["", "http", "0", "65536", "-1", "٣"])
def test_a_port_that_is_none_is_refused(tmp_path: Path, port: str) -> None:
    with command(tmp_path, port, 5000) as process:
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "API_PORT must be a port from 1 to 65535" in output


def test_the_example_without_an_api_says_how_to_start_one() -> None:
    example = [sys.executable, "examples/train_example.py", "--url", f"http://127.0.0.1:{free_port()}"]
    done = subprocess.run(example, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "make run" in done.stderr


def test_the_examples_data_are_the_published_ones() -> None:
    rows, labels, names = read_data(DATA)
    published = load_breast_cancer()
    assert rows == published.data.tolist()
    assert labels == published.target_names[published.target].tolist()
    assert names == [name.replace(" ", "_") for name in published.feature_names]
