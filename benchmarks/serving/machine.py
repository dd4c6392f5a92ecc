"""What the benchmark runs on, and whether it is quiet enough to believe what it shows."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.serving.paths import ROOT, BenchError


def cores() -> tuple[int, int]:
    """The server's core and the client's."""
    mine = sorted(os.sched_getaffinity(0))
    if len(mine) < 2:
        raise BenchError("the benchmark needs two cores, one for the server and one for the client")
    return mine[0], mine[-1]


def describe() -> dict[str, Any]:
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
    }


def moment() -> dict[str, Any]:
    """When, of which state of the repository, and how busy the machine was with something else."""
    return {
        "at": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _git("rev-parse", "--short", "HEAD") or "unknown",
        "changed": bool(_git("status", "--porcelain", "--untracked-files=no", "service")),
        "load": round(os.getloadavg()[0], 2),
    }


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()
