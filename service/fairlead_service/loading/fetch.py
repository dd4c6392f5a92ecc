"""Fetches the few files of a model that matter; whatever else is beside them stays where it is."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from fairlead_service.failures import corrupt, refused
from fairlead_service.loading import example as examples
from fairlead_service.loading import mlmodel
from fairlead_service.loading.example import Example
from fairlead_service.loading.mlmodel import ModelDescription
from fairlead_service.loading.source import Artifacts, Listing

SMALL_FILE_BYTES: Final = 16 * 2**20
"""Limit of each file that describes the model (MLmodel, requirements, input example)."""

ENVIRONMENTS: Final = ("conda.yaml", "python_env.yaml")
"""Read only for what MLmodel and requirements.txt leave open: each is one more request."""
DECISIVE: Final = {"scikit-learn", "numpy", "python"}
"""What a load can fail by (`versions.compare`)."""


@dataclass(frozen=True)
class Described:
    description: ModelDescription
    trained_with: Mapping[str, str]


class Files:
    """The files of one directory of a store, with a local directory that they are fetched to."""

    def __init__(self, artifacts: Artifacts, directory: Path) -> None:
        self._artifacts = artifacts
        self.directory = directory

    @cached_property
    def listing(self) -> Listing:
        return self._artifacts.listing()

    def below(self, name: str) -> "Files":
        """Those of a directory in this one."""
        directory = self.directory / name
        directory.mkdir()
        return Files(self._artifacts.below(name), directory)

    def fetch(self, name: str, limit: int) -> Path:
        """Downloads one file.

        Raises LoadError: ModelCorrupt if it is missing or truncated, ModelRefused if it is larger than `limit` bytes.
        """
        sizes = self.listing.files
        if name not in sizes:
            raise corrupt(f"the model has no file {name}; it has {', '.join(sorted(sizes)) or 'no files at all'}")
        expected = sizes[name]
        if expected is not None and expected > limit:
            raise refused(f"file {name} of the model has {expected} bytes, more than the {limit} allowed")
        path = self.directory / name
        self._artifacts.download(name, path, limit)
        actual = path.stat().st_size
        if expected is not None and actual != expected:
            raise corrupt(f"file {name} of the model is truncated: {actual} bytes of {expected}")
        return path


def describe(files: Files) -> Described:
    """What the model says of itself: MLmodel before requirements.txt before conda.yaml before python_env.yaml."""
    description = mlmodel.describe(files.fetch("MLmodel", SMALL_FILE_BYTES).read_bytes())
    trained_with = dict(description.versions)
    if "requirements.txt" in files.listing.files:
        text = files.fetch("requirements.txt", SMALL_FILE_BYTES).read_text(errors="replace")
        trained_with = mlmodel.requirements(text) | trained_with
    for name in ENVIRONMENTS:
        if name in files.listing.files and not trained_with.keys() >= DECISIVE:
            trained_with = mlmodel.environment(files.fetch(name, SMALL_FILE_BYTES).read_bytes()) | trained_with
    return Described(description, trained_with)


def example(files: Files, description: ModelDescription) -> Example | None:
    """The model's input example, if it has one."""
    if description.example_file is None or description.example_file not in files.listing.files:
        return None
    return examples.parse(files.fetch(description.example_file, SMALL_FILE_BYTES).read_bytes())


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
