"""Where the benchmark keeps what it makes: outside the repository, but for what a full run found out."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path.home() / ".cache" / "fairlead" / "bench"
APPS = Path(__file__).resolve().parent / "apps"
REQUIREMENTS = Path(__file__).resolve().parent / "requirements"
UV = ROOT / ".fairlead" / "uv" / "bin" / "uv"

RESULTS = ROOT / "benchmarks"
PICTURE = ROOT / "docs" / "images" / "serving-benchmark.svg"
TRIAL = ROOT / ".fairlead" / "bench"
"""Results of runs that are too short or too partial to be published."""


class BenchError(Exception):
    """Something that the person who runs the benchmark has to know or change."""
