"""The plugin that measures tests, in pytest itself and in workers of pytest-xdist."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TESTS = """
import time
import pytest

@pytest.fixture
def slow():
    time.sleep(0.1)
    yield
    time.sleep(0.1)

def test_waits(slow):
    time.sleep(0.1)

def test_computes():
    end = time.process_time() + 0.2
    while time.process_time() < end:
        pass

def test_child_computes():
    import subprocess, sys
    subprocess.run([sys.executable, "-S", "-c", "import time\\nwhile time.process_time() < 0.2: pass"], check=True)

@pytest.mark.skip
def test_skipped():
    pass
"""


@pytest.mark.parametrize("options", [(), ("-n", "2", "--dist", "loadgroup")], ids=["alone", "workers"])
def test_setup_call_and_teardown_count_and_so_does_a_childs_processor_time(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    file = tmp_path / "times.json"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tools.pytest_times", f"--test-times={file}", *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, "test_it.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    times = json.loads(file.read_text())
    by_name = {one["test"].rpartition("::")[2]: one for one in times}
    assert by_name.keys() == {"test_waits", "test_computes", "test_child_computes", "test_skipped"}
    assert [one["seconds"] for one in times] == sorted((one["seconds"] for one in times), reverse=True)
    assert by_name["test_waits"]["seconds"] >= 0.3
    assert by_name["test_waits"]["cpu_seconds"] < 0.1
    assert by_name["test_computes"]["cpu_seconds"] >= 0.2
    assert by_name["test_child_computes"]["cpu_seconds"] >= 0.2
