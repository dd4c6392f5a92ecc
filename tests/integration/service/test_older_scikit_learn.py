"""The corpus of compiled models under the other scikit-learn that Fairlead supports, in an environment of its own.

The environment is made once, in the user's cache, by the uv that `make setup` has put into the checkout. Fairlead
itself is the checkout's, with the kernel that its installation has built: the kernel is one binary for all versions.
"""

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import pytest

from fairlead_service import native
from tools.localcluster import paths

OLDER: str = "1.8.0"
"""The last patch of the second newest minor version; the newest is the one in pyproject.toml."""
ALSO = ("numpy", "scipy", "skops", "pydantic", "pandas", "pyyaml", "httpx")
CORPUS = "tests.unit.service.native.corpus"
UV = paths.CHECKOUT / ".fairlead" / "uv" / "bin" / "uv"
PATIENCE = 900.0
"""Seconds, for a download of about 80 MB on a slow line."""


def requirements() -> list[str]:
    return [f"scikit-learn=={OLDER}", *(f"{name}=={version(name)}" for name in ALSO)]


def run(what: str, *command: str | Path, **environment: str) -> str:
    done = subprocess.run(
        command,
        cwd=paths.CHECKOUT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
    )
    if done.returncode:
        said = "\n".join(done.stdout.splitlines()[-60:])
        pytest.fail(f"{what} failed with code {done.returncode}: {' '.join(map(str, command))}\n{said}", pytrace=False)
    return done.stdout


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Waits until no other test run makes the same environment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def older_python() -> Path:
    """The interpreter of an environment with the older scikit-learn."""
    wanted = requirements()
    key = hashlib.sha256(repr((platform.python_version(), wanted)).encode()).hexdigest()[:12]
    home = paths.cache() / "environments" / f"scikit-learn-{OLDER}-{key}"
    python, done = home / "bin" / "python", home / "done"
    with alone(home):
        if not done.exists():
            if not UV.exists():
                pytest.fail(f"{UV} is missing; `make setup` installs it", pytrace=False)
            shutil.rmtree(home, ignore_errors=True)
            run("making an environment", UV, "venv", "--quiet", "--python", sys.executable, home)
            run("installing scikit-learn", UV, "pip", "install", "--quiet", "--python", python, *wanted)
            done.touch()
    return python


def test_the_corpus_under_the_older_scikit_learn(older_python: Path) -> None:
    if not native.available():
        pytest.fail(f"the kernel was not built in {paths.CHECKOUT}: is there a C compiler? then `make setup`", False)
    source = os.pathsep.join(str(paths.CHECKOUT / part) for part in ("service", "."))
    found = run("reading its version", older_python, "-c", "import sklearn; print(sklearn.__version__)")
    assert found.strip() == OLDER
    run(f"the corpus under scikit-learn {OLDER}", older_python, "-m", CORPUS, PYTHONPATH=source)
