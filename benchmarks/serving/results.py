"""What was measured, kept as JSON: raw samples, so that every figure of the report can be had again from them."""

import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.serving.paths import PICTURE, RESULTS, TRIAL


@dataclass(frozen=True)
class Output:
    """Where results go: beside the benchmark, or aside if they are not to be published."""

    data: Path
    report: Path
    picture: Path


def output(trial: bool) -> Output:
    if not trial:
        return Output(RESULTS / "results.json", RESULTS / "RESULTS.md", PICTURE)
    return Output(TRIAL / "results.json", TRIAL / "RESULTS.md", TRIAL / "serving-benchmark.svg")


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return {"machine": {}, "versions": {}, "cases": {}, **found}


def write(path: Path, results: dict[str, Any]) -> None:
    """One line for each part and each case, so that differences can be read."""
    lines = []
    for key, value in results.items():
        if key == "cases":
            cases = ",\n".join(f"  {json.dumps(name)}: {_compact(case)}" for name, case in value.items())
            lines.append(f' "cases": {{\n{cases}\n }}')
        else:
            lines.append(f" {json.dumps(key)}: {_compact(value)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


@dataclass(frozen=True)
class Ratio:
    """Our rate over theirs, of samples of the same round."""

    median: float
    least: float
    most: float


def ratio(case: dict[str, Any], server: str, ours: str = "ours") -> Ratio | None:
    """None if either of them has no samples, or any errors."""
    mine, theirs = case["servers"].get(ours), case["servers"].get(server)
    if not mine or not theirs or not sound(mine) or not sound(theirs):
        return None
    pairs = zip(mine["samples"], theirs["samples"], strict=False)
    found = [ours_["rate"] / theirs_["rate"] for ours_, theirs_ in pairs]
    return Ratio(statistics.median(found), min(found), max(found))


def sound(cell: dict[str, Any]) -> bool:
    """Whether all rounds of a server went without an error."""
    good = all("errors" not in sample and sample["rate"] > 0 for sample in cell["samples"])
    return bool(cell["samples"]) and good and "failure" not in cell


def median(cell: dict[str, Any], key: str) -> float:
    return float(statistics.median(sample[key] for sample in cell["samples"]))


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
