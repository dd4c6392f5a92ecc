"""Prometheus' own promtool, over rules and queries that the operator makes."""

import functools
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.chart.rendering import ROOT


@functools.cache
def promtool() -> Path:
    """FAIRLEAD_PROMTOOL, else from PATH, else built and cached by localcluster."""
    if named := os.environ.get("FAIRLEAD_PROMTOOL"):
        return Path(named)
    if found := shutil.which("promtool"):
        return Path(found)
    command = [sys.executable, "-m", "tools.localcluster", "binaries", "promtool"]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1200, check=False)
    if built.returncode:
        pytest.fail(f"no promtool: set FAIRLEAD_PROMTOOL, put it on PATH, or mend this:\n{built.stderr}")
    return Path(built.stdout.splitlines()[-1]) / "promtool"


@dataclass(frozen=True)
class History:
    """Series as promtool writes them (`0+60x10`: from 0, 60 more at each step), and what is asked of them when."""

    series: dict[str, str]
    interval: str = "1m"
    evaluated: str = "1m"
    asked: list[tuple[str, str, dict[str, float]]] = field(default_factory=list)
    """(expression, when, labels → value): exactly these samples."""

    def ask(self, expression: str, when: str, **samples: float) -> "History":
        return self.expect(expression, when, {name or "{}": value for name, value in samples.items()})

    def expect(self, expression: str, when: str, samples: dict[str, float]) -> "History":
        self.asked.append((expression, when, samples))
        return self

    def check(self, directory: Path, groups: list[dict[str, Any]] | None = None) -> None:
        """Raises AssertionError with promtool's own words."""
        rules, test = directory / "rules.json", directory / "test.json"
        rules.write_text(json.dumps({"groups": groups or []}))
        case = {
            "interval": self.interval,
            "input_series": [{"series": name, "values": values} for name, values in self.series.items()],
            "promql_expr_test": [
                {
                    "expr": expression,
                    "eval_time": when,
                    "exp_samples": [{"labels": labels, "value": value} for labels, value in samples.items()],
                }
                for expression, when, samples in self.asked
            ],
        }
        test.write_text(
            json.dumps({"rule_files": [str(rules)], "evaluation_interval": self.evaluated, "tests": [case]})
        )
        done = subprocess.run(
            [promtool(), "test", "rules", str(test)], capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def check_rules(groups: list[dict[str, Any]], directory: Path) -> None:
    file = directory / "rules.json"
    file.write_text(json.dumps({"groups": groups}))
    done = subprocess.run(
        [promtool(), "check", "rules", "--lint-fatal", str(file)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
