"""How often a canary errs: `.venv/bin/python -m benchmarks.canary` writes docs/canary-errors.md and its picture.

Latencies are drawn from a log-normal distribution and failures from a coin, for candidate and serving model alike; the
operator's own `checks.judge` decides, step by step, with the defaults of `spec.rollout`. No cluster, no clock.
"""

import math
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
from benchmarks.lines import Line, Panel, draw

from fairlead_operator.checks import Evidence, Question, Sample, judge, percentile
from fairlead_operator.desired.access import Contact
from fairlead_operator.spec import Rollout

ROOT: Final = Path(__file__).resolve().parent.parent
REPORT: Final = ROOT / "docs" / "canary-errors.md"
PICTURE: Final = ROOT / "docs" / "images" / "canary-errors.svg"

TRIALS: Final = 1000
SPREAD: Final = 0.5
"""Of the logarithm of latencies: p95 is 2.3 times the median."""
LATENCY: Final = 250.0
SUCCESS: Final = 99.5
REQUESTS: Final = (50, 200, 1000)
"""Of the candidate in a step; the serving pods answer four times as many, as beside a canary of 20 %."""
SERVING_SHARE: Final = 4
NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Model:
    p95: float
    """Milliseconds, of the distribution."""
    failing: float = 0.002
    """Share of requests."""

    def sample(self, random: np.random.Generator, requests: int) -> Sample:
        median = self.p95 / math.exp(1.645 * SPREAD)
        latencies = random.lognormal(math.log(median), SPREAD, requests)
        return Sample(requests, int(random.binomial(requests, self.failing)), percentile(latencies.tolist(), 0.95))


def taken_back(random: np.random.Generator, candidate: Model, serving: Model, requests: int) -> bool:
    """One canary with the default steps."""
    rollout = Rollout()
    question = _question(requests)
    step = failures = 0
    while step < len(rollout.steps):
        samples = candidate.sample(random, requests), serving.sample(random, SERVING_SHARE * requests)
        if judge(question, Evidence(*samples), NOW).failed:
            failures += 1
            if failures >= rollout.failure_threshold:
                return True
        else:
            step += 1
    return False


def share(candidate: Model, serving: Model, requests: int, seed: int = 1) -> float:
    """Of the roll-outs that are taken back, in per cent."""
    random = np.random.default_rng(seed)
    return 100 * sum(taken_back(random, candidate, serving, requests) for _ in range(TRIALS)) / TRIALS


def _question(requests: int) -> Question:
    return Question(
        id="",
        namespace="",
        candidate=(),
        serving=(),
        dark=False,
        window_seconds=60,
        min_requests=requests,
        replay_samples=0,
        contact=Contact(),
        latency_milliseconds=int(LATENCY),
        success_percent=SUCCESS,
        max_disagreement_percent=None,
    )


@dataclass(frozen=True)
class Sweep:
    title: str
    axis: str
    values: Sequence[float]
    models: Sequence[tuple[Model, Model]]
    """Candidate and serving, one pair a value."""

    def shares(self, requests: int) -> list[float]:
        return [share(candidate, serving, requests) for candidate, serving in self.models]


def sweeps() -> tuple[Sweep, ...]:
    near = (0.5, 0.8, 0.9, 1.0, 1.2)
    slower = (1.0, 1.25, 1.5, 2.0, 3.0)
    failing = (0.002, 0.01, 0.02, 0.05, 0.1)
    return (
        Sweep(
            "No difference: wrongly taken back",
            "p95 of both, of the threshold",
            near,
            [(Model(LATENCY * value), Model(LATENCY * value)) for value in near],
        ),
        Sweep(
            "Slower: rightly taken back",
            "p95 of the candidate, of the serving model's, which is 0.8 of the threshold",
            slower,
            [(Model(0.8 * LATENCY * value), Model(0.8 * LATENCY)) for value in slower],
        ),
        Sweep(
            "Failing: rightly taken back",
            "failing share of the candidate; 0.005 is allowed, the serving model has 0.002",
            failing,
            [(Model(0.4 * LATENCY, value), Model(0.4 * LATENCY)) for value in failing],
        ),
    )


def table(sweep: Sweep, shares: dict[int, list[float]]) -> str:
    head = f"| {sweep.axis} | " + " | ".join(f"{value:g}" for value in sweep.values) + " |"
    rule = "| --- |" + " ---: |" * len(sweep.values)
    rows = [
        f"| {requests} requests a step | " + " | ".join(f"{value:.1f} %" for value in found) + " |"
        for requests, found in shares.items()
    ]
    return "\n".join([f"## {sweep.title}", "", head, rule, *rows])


def main() -> int:
    began = datetime.now(UTC)
    panels, tables = [], []
    for sweep in sweeps():
        shares = {}
        for requests in REQUESTS:
            shares[requests] = sweep.shares(requests)
            print(f"{sweep.title}, {requests} requests: {shares[requests]}", flush=True)
        tables.append(table(sweep, shares))
        lines = [Line(f"{requests} requests a step", found) for requests, found in shares.items()]
        panels.append(Panel(sweep.title, sweep.axis, [f"{value:g}" for value in sweep.values], lines))
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    PICTURE.write_text(draw("Roll-outs taken back, of a hundred", panels))
    REPORT.write_text(
        "# How often a canary errs\n\n"
        f"Written by `.venv/bin/python -m benchmarks.canary` on {began:%Y-%m-%d}, Python {platform.python_version()}; "
        "not edited by hand.\n\n"
        f"{TRIALS} simulated roll-outs a cell, with the defaults of `spec.rollout` and `slo: {{latencyMilliseconds: "
        f'{LATENCY:.0f}, successPercent: "{SUCCESS}"}}`. Latencies are log-normal (p95 is 2.3 times the median), '
        f"failures independent; the serving pods answer {SERVING_SHARE} times as many requests as the candidate's.\n\n"
        "![Share of roll-outs taken back](images/canary-errors.svg)\n\n" + "\n\n".join(tables) + "\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
