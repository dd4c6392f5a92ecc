"""A virtual environment for each peer, because no two of them agree on their dependencies.

Its name holds a digest of its pins: changed pins make another environment, and an old one is never changed.
"""

import hashlib
import json
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from benchmarks.serving.paths import CACHE, REQUIREMENTS, UV, BenchError

OURS = "ours"
"""Not a peer: the repository's own environment, which `make setup` made."""
SHOWN = ("scikit-learn", "numpy", "uvicorn", "uvloop", "httptools", "fastapi", "pydantic")


def python(peer: str) -> Path:
    """The interpreter of a peer's environment, which may not exist yet."""
    return Path(sys.executable) if peer == OURS else _directory(peer) / "bin" / "python"


def make(peers: Iterable[str]) -> None:
    """Makes what is missing, one after the other, at low priority: other work on the machine goes on."""
    for peer in peers:
        if peer != OURS and not _done(peer).exists():
            _make(peer)


def versions(peer: str) -> dict[str, str]:
    """Distribution → version of all that is installed there."""
    done = _run([UV, "pip", "list", "--quiet", "--format", "json", "--python", python(peer)])
    return {entry["name"]: entry["version"] for entry in json.loads(done)}


def _directory(peer: str) -> Path:
    lines = [line for line in _requirements(peer).read_text().splitlines() if not line.startswith("#")]
    pins = "\n".join([platform.python_version(), *lines])
    return CACHE / f"{peer}-{hashlib.sha256(pins.encode()).hexdigest()[:12]}"


def _done(peer: str) -> Path:
    return _directory(peer) / ".done"


def _requirements(peer: str) -> Path:
    return REQUIREMENTS / f"{peer}.txt"


def _make(peer: str) -> None:
    directory, began = _directory(peer), time.monotonic()
    print(f"environment {directory.name} …", flush=True)
    shutil.rmtree(directory, ignore_errors=True)  # half of one, of a run that was stopped
    _run([UV, "venv", "--quiet", "--python", sys.executable, directory])
    install: list[str | Path] = [UV, "pip", "install", "--quiet", "--compile-bytecode", "--python", directory]
    _run(["nice", "-n", "10", *install, "--requirement", _requirements(peer)])
    _done(peer).touch()
    print(f"environment {directory.name}: made in {time.monotonic() - began:.0f} s", flush=True)


def _run(command: list[str | Path]) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode:
        tail = "\n".join(done.stderr.strip().splitlines()[-15:])
        raise BenchError(f"`{' '.join(map(str, command))}` failed with code {done.returncode}:\n{tail}")
    return done.stdout
