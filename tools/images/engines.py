"""The two programs that can build and hand over an image: docker and buildah."""

import shutil
import subprocess
from pathlib import Path
from typing import Protocol

from tools.images import base
from tools.images.recipes import Recipe
from tools.localcluster import locks, packages, paths, progress
from tools.localcluster.paths import CHECKOUT, LocalClusterError
from tools.localcluster.progress import Say, run

OFFICIAL_BASE = "python:3.11-slim"
HOST_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


class Engine(Protocol):
    """What `tools.images build` needs of a builder."""

    base: str

    def has(self, reference: str) -> bool: ...
    def build(self, recipe: Recipe, reference: str, say: Say) -> None: ...
    def remove(self, reference: str) -> None: ...


class Docker:
    """A Docker engine that answers."""

    base = OFFICIAL_BASE

    def has(self, reference: str) -> bool:
        return run(["docker", "image", "inspect", reference], check=False).returncode == 0

    def build(self, recipe: Recipe, reference: str, say: Say) -> None:
        _build(["docker", "build", "--progress=plain"], recipe, reference, say)

    def remove(self, reference: str) -> None:
        run(["docker", "image", "rm", reference], check=False)


class Buildah:
    """buildah as root, without any daemon; its base image is made here, as no registry need be in reach."""

    def __init__(self) -> None:
        self.base = base.reference()

    def has(self, reference: str) -> bool:
        return run(["buildah", "inspect", "--type=image", f"localhost/{reference}"], check=False).returncode == 0

    def build(self, recipe: Recipe, reference: str, say: Say) -> None:
        base.ensure(say)
        command = ["buildah", "bud", "--isolation=chroot", "--layers", f"--build-arg=BASE_IMAGE={self.base}"]
        if HOST_CERTIFICATES.exists():  # the machine may trust a proxy that Debian's own bundle does not know
            command += ["--volume", f"{HOST_CERTIFICATES}:{HOST_CERTIFICATES}:ro"]
        _build(command, recipe, reference, say)

    def remove(self, reference: str) -> None:
        run(["buildah", "untag", f"localhost/{reference}", f"localhost/{reference}"], check=False)


def docker_answers() -> bool:
    return bool(shutil.which("docker")) and run(["docker", "info"], check=False, timeout=60).returncode == 0


def choose(say: Say) -> Engine:
    """Docker if its engine answers, else buildah, which is installed if need be."""
    if docker_answers():
        return Docker()
    packages.ensure(packages.IMAGES, say)
    return Buildah()


def ensure(recipe: Recipe, engine: Engine, say: Say) -> str:
    """Builds the image unless it is there; returns its reference. Under a lock: a second builder would do the same work
    at the same time.

    A file that is saved during the build would be in an image whose tag denies it: then the tag is taken away, and it
    is built again.
    """
    root = paths.cache() / "images"
    root.mkdir(parents=True, exist_ok=True)
    with locks.held(root / f"{recipe.name}.lock", f"waiting for another build of image {recipe.name}", say):
        for _ in range(5):
            reference = recipe.reference(engine.base)
            if engine.has(reference):
                say(f"{reference} is built already")
                return reference
            engine.build(recipe, reference, say)
            if recipe.reference(engine.base) == reference:
                return reference
            say(f"files of {recipe.name} changed during the build; building it again")
            engine.remove(reference)
    raise LocalClusterError(f"files of {recipe.name} change faster than it can be built")


def _build(command: list[str], recipe: Recipe, reference: str, say: Say) -> None:
    log = paths.cache() / "images" / f"{recipe.name}.log"
    with progress.stage(f"building {reference}", say) as update, log.open("w") as output:
        arguments = ["--tag", reference, "--file", recipe.dockerfile, "."]
        with subprocess.Popen(
            [*command, *arguments],
            cwd=CHECKOUT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                output.write(line)
                if line.startswith(("STEP", "[", "#")) and len(line.strip()) > 3:
                    update(line.strip()[:100])
        if process.returncode:
            output.flush()
            tail = "\n".join(log.read_text().splitlines()[-25:])
            raise LocalClusterError(f"{recipe.dockerfile} did not build (all of it in {log}):\n{tail}")
