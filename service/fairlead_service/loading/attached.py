"""The compiled bundle that may lie beside a model, in `fairlead/` next to its MLmodel: compiled once, by the trainer.

Taking it needs no model library. It is taken if this image would have made the same bundle: a format that it knows, a
scikit-learn whose answers are those that it was proven against, a kernel to run it. Otherwise the model is compiled
anew, which is slower and gives the same answers. One thing is refused, whoever wrote it: a bundle of another model
than the one it lies beside, because then either of the two was exchanged.

A program executes no code and its arrays are checked before use, so a planted bundle can answer wrongly, as a planted
model can, and nothing else.
"""

import json
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from fairlead_service import native
from fairlead_service.contract import FailureReason
from fairlead_service.failures import LoadError, refused
from fairlead_service.loading import versions
from fairlead_service.loading.fetch import SMALL_FILE_BYTES, Files, sha256
from fairlead_service.loading.versions import VersionPolicy
from fairlead_service.models import bundle
from fairlead_service.models.bundle import Bundle, Manifest

DIRECTORY: Final = "fairlead"


class UnusableError(Exception):
    """The bundle is not for this image, or not whole; the model itself may be. The message says why."""


def manifest(files: Files) -> Manifest:
    """What the bundle in `fairlead/` says of itself. Raises UnusableError if that cannot be read here."""
    raw = _fetched(files, bundle.MANIFEST, SMALL_FILE_BYTES).read_bytes()
    try:
        found = json.loads(raw).get("format")
        if found != bundle.FORMAT:
            raise UnusableError(f"it has format {found!r}, this image reads {bundle.FORMAT}")
        return Manifest.model_validate_json(raw)
    except (ValueError, AttributeError, RecursionError, ValidationError) as error:
        raise UnusableError(f"its manifest does not parse: {error}") from error


def check(found: Manifest, policy: VersionPolicy) -> None:
    """Raises UnusableError unless this image would have made the same bundle."""
    from fairlead_service.models.backends.native.program import ARRAYS_FILE, PROGRAM_FILE, PROGRAM_FORMAT

    if found.backend != "native" or set(found.files) != {PROGRAM_FILE, ARRAYS_FILE}:
        raise UnusableError("it holds no compiled program")
    if found.program_format != PROGRAM_FORMAT:
        raise UnusableError(f"its program has format {found.program_format!r}, this image runs {PROGRAM_FORMAT}")
    if found.proof.verdict != "identical":
        raise UnusableError("it was not proven")
    if not native.available():
        raise UnusableError("the compiled kernel is not installed in this image")
    # answers change with scikit-learn's minor version, whatever the policy says of loading the model itself
    strict = policy if policy is VersionPolicy.STRICT else VersionPolicy.MINOR
    for difference in versions.compare(found.made_with, versions.installed(), strict, pickled=False).refused:
        raise UnusableError(f"it was proven with {difference.name} {difference.trained}, here is {difference.present}")


def check_digest(found: Manifest, digest: str) -> None:
    """Raises LoadError(ModelRefused) if the bundle was made of another model file than the one with this SHA-256."""
    if found.model_sha256 != digest:
        raise refused(
            f"the compiled bundle beside the model is not of this model: it was made of a file with sha256 "
            f"{found.model_sha256}, the model's has {digest}; log the model again or delete its {DIRECTORY}/ directory"
        )


def fetch(files: Files, found: Manifest, limit: int) -> Bundle:
    """Downloads the bundle's files. Raises UnusableError if one is not what the manifest says."""
    for name, expected in found.files.items():
        path = _fetched(files, name, min(limit, expected.size))
        if (path.stat().st_size, sha256(path)) != (expected.size, expected.sha256):
            raise UnusableError(f"its {name} is not what its manifest says")
    return Bundle(directory=files.directory, manifest=found)


def answer(opened: Bundle) -> None:
    """Lets the model answer its input example, as the server will. Raises UnusableError if it does not."""
    import numpy as np

    from fairlead_service.models.backends import Want, build

    found = opened.manifest
    rows = found.input_example or ((0.0,) * found.n_features,)
    try:
        backend = build(opened)
        backend.evaluate(np.array(rows, dtype=np.float64), Want(found.has_probabilities, found.has_scores))
    except Exception as error:  # what anyone may have written
        raise UnusableError(f"it does not answer: {type(error).__name__}: {error}") from error


def _fetched(files: Files, name: str, limit: int) -> Path:
    try:
        return files.fetch(name, limit)
    except LoadError as error:
        if error.reason is FailureReason.TRACKING_SERVER_UNAVAILABLE:
            raise
        raise UnusableError(error.message) from error
