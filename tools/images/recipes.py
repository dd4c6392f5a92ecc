"""Which images there are, and the tag of each: a digest of all that decides its content."""

import hashlib
import json
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tools.localcluster.paths import CHECKOUT


@dataclass(frozen=True)
class Recipe:
    """One image. Paths are relative to the repository's root, which is the build context."""

    name: str
    dockerfile: str
    requirements: str
    package: str = ""
    """The directory of our own package in it, if any."""

    def tag(self, base: str, root: Path = CHECKOUT) -> str:
        """Twelve hexadecimal digits; `base` is the base image's name."""
        digest = hashlib.sha256(base.encode())
        for path in self._files(root):
            digest.update(f"\0{path.relative_to(root)}\0".encode() + path.read_bytes())
        if self.package:
            digest.update(project(root))
        return digest.hexdigest()[:12]

    def reference(self, base: str, root: Path = CHECKOUT) -> str:
        """As a pod names it."""
        return f"fairlead-{self.name}:{self.tag(base, root)}"

    def _files(self, root: Path) -> Iterator[Path]:
        yield root / self.dockerfile
        yield root / self.requirements
        yield from (path for path in [root / "setup.py"] if self.package and path.exists())
        for path in sorted((root / self.package).rglob("*")) if self.package else []:
            if path.is_file() and "__pycache__" not in path.parts and path.suffix not in {".pyc", ".so"}:
                yield path


def project(root: Path) -> bytes:
    """The parts of pyproject.toml that are in the built distribution, and not the linters' settings."""
    content = tomllib.loads((root / "pyproject.toml").read_text())
    tool = content.get("tool", {}).get("setuptools")
    parts = {"build-system": content.get("build-system"), "project": content.get("project"), "setuptools": tool}
    return json.dumps(parts, sort_keys=True).encode()


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("service", "service/Dockerfile", "requirements/service.txt", "service/fairlead_service"),
        Recipe("operator", "operator/Dockerfile", "requirements/operator.txt", "operator/fairlead_operator"),
        Recipe("mlflow", "tools/mlflow/Dockerfile", "requirements/mlflow.txt"),
    )
}
