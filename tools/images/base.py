"""A base image without a registry: Debian with Python, by debootstrap, once a machine."""

import hashlib
import inspect
import os
import shutil
import sys
import tempfile
from pathlib import Path

from tools.localcluster import locks, paths, progress
from tools.localcluster.paths import LocalClusterError
from tools.localcluster.progress import Say, run

SUITE = "bookworm"  # has Python 3.11
PACKAGES = ("python3", "python3-venv", "ca-certificates")
USELESS = (
    "usr/share/doc/*",
    "usr/share/info/*",
    "usr/share/locale/*",
    "usr/share/man/*",
    "var/cache/apt/*",
    "var/cache/debconf/*-old",
    "var/lib/apt/lists/*",
    "var/log/*",
)


def reference() -> str:
    """Its name in buildah's storage; the tag changes with the recipe."""
    recipe = repr((SUITE, PACKAGES, USELESS)) + inspect.getsource(_make)
    return f"localhost/fairlead-python:3.11-{hashlib.sha256(recipe.encode()).hexdigest()[:8]}"


def is_there() -> bool:
    """Whether buildah's storage has it."""
    return run(["buildah", "inspect", "--type=image", reference()], check=False).returncode == 0


def ensure(say: Say) -> str:
    """Make the base image unless it is there; give its name. The file system is kept in the cache, too, so that
    emptying buildah's storage costs seconds."""
    name = reference()
    if is_there():
        return name
    directory = paths.cache() / "images"
    directory.mkdir(parents=True, exist_ok=True)
    archive = directory / f"base-{name.rpartition('-')[2]}.tar.gz"
    with locks.held(directory / "base.lock", "waiting for another making of the base image", say):
        if not archive.exists():
            with progress.stage(f"making a base image with debootstrap (Debian {SUITE}, Python 3.11)", say):
                _make(archive)
        if not is_there():
            _import(archive, name)
    return name


def _make(archive: Path) -> None:
    if sys.platform != "linux" or os.geteuid() != 0:
        raise LocalClusterError("debootstrap needs root on Linux: run this with sudo, or start a Docker engine")
    with tempfile.TemporaryDirectory(prefix="fairlead-base-", dir="/var/tmp") as scratch:
        root = Path(scratch) / "root"
        run(["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, root], timeout=1800)
        for pattern in USELESS:
            for path in root.glob(pattern):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        for directory in ("usr/local/bin", "usr/bin"):
            (root / directory / "python").unlink(missing_ok=True)
        (root / "usr/bin/python").symlink_to("python3")
        fresh = archive.with_suffix(".new")
        run(["tar", "--create", "--numeric-owner", "--gzip", "--file", fresh, "--directory", root, "."])
        fresh.replace(archive)


def _import(archive: Path, name: str) -> None:
    with tempfile.TemporaryDirectory(prefix="fairlead-base-") as scratch:
        dockerfile = Path(scratch) / "Dockerfile"
        dockerfile.write_text(f'FROM scratch\nADD {archive.name} /\nENV LANG=C.UTF-8\nCMD ["python3"]\n')
        run(["buildah", "bud", "--quiet", "--tag", name, "--file", dockerfile, archive.parent])
