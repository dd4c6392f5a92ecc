"""pytest plugin: writes how long each test took, and how much of that was processor time, to the file `--test-times`.

`tools.tiers` loads it with `-p tools.pytest_times`. pytest-xdist gives its workers the same options; they measure, and
the controller, which receives their reports, writes the file.

A test's processor time is that of the process which runs it and of the children that end during the test. A server that
outlives the test (a session fixture) is counted in the test that ends it.
"""

import json
import resource
from collections import defaultdict
from collections.abc import Generator
from pathlib import Path

import pytest

OPTION = "--test-times"
ATTRIBUTE = "cpu_seconds"
"""Of a report: pytest-xdist sends a report's attributes from worker to controller as JSON."""


def cpu_seconds() -> float:
    """Processor seconds of this process and of its children that have ended."""
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


class Measure:
    """Adds to the report of each of a test's three parts (setup, call, teardown) the processor time of that part."""

    def __init__(self) -> None:
        self._mark = 0.0

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self) -> Generator[None, object, object]:
        self._mark = cpu_seconds()
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        now = cpu_seconds()
        setattr(report, ATTRIBUTE, now - self._mark)
        self._mark = now
        return report


class Write:
    """Adds up the parts of each test and writes the file at the end, the slowest test first."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._cpu_seconds: defaultdict[str, float] = defaultdict(float)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._seconds[report.nodeid] += report.duration
        self._cpu_seconds[report.nodeid] += getattr(report, ATTRIBUTE, 0.0)

    def pytest_sessionfinish(self) -> None:
        slowest_first = sorted(self._seconds.items(), key=lambda item: item[1], reverse=True)
        times = [
            {"test": test, "seconds": round(seconds, 3), "cpu_seconds": round(self._cpu_seconds[test], 3)}
            for test, seconds in slowest_first
        ]
        self._file.write_text(json.dumps(times, indent=1))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(OPTION, type=Path, metavar="FILE", help="write each test's seconds and processor seconds as JSON")


def pytest_configure(config: pytest.Config) -> None:
    file: Path | None = config.getoption(OPTION)
    if file is None:
        return
    config.pluginmanager.register(Measure())
    if not hasattr(config, "workerinput"):  # a worker of pytest-xdist has it
        config.pluginmanager.register(Write(file))
