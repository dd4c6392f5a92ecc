"""The bundle: what the loader writes and the server reads, the only thing that crosses the wall besides JSON lines.

A bundle is a directory with `manifest.json` and the files it names, each with size and SHA-256. It is written to a
temporary neighbour and renamed into place, so a reader sees either a whole bundle or none.
"""

import hashlib
import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
SKOPS_FILE: Final = "model.skops"

MOST_COLUMNS: Final = 50_000
"""Widest model that is served: what is made for a load grows with the width, which a file of any size can claim."""

Label = bool | int | float | str
"""A class label as JSON knows it."""


class BundleError(Exception):
    """The directory is not a whole, unaltered bundle of a known format; the message names the file."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Identity(_Frozen):
    """Which model this is: immutable references only, never an alias."""

    run_id: str
    """What the model goes by: its run, or the logged model (`m-…`) where it was logged outside a run."""
    model_uri: str
    """`runs:/RUN/PATH` or `models:/m-ID`, as the loader was asked."""
    model_id: str | None = None
    """MLflow's logged-model id, `m-` and 32 hex digits; None for models logged by MLflow 2."""
    name: str | None = None
    version: str | None = None


class Proof(_Frozen):
    """What was checked at load."""

    rows: int = Field(description="Rows on which the backend's answers were compared or at least produced")
    verdict: Literal["identical", "loaded", "untested"] = Field(
        description="identical: equal bit for bit to scikit-learn; loaded: answered its input example; untested: no "
        "example"
    )
    batches: bool = Field(
        default=True,
        description="Whether a request's answer is the same, bit for bit, whatever requests share a call of the "
        "backend with it",
    )


class Placement(_Frozen):
    """Where a model's features are in the wider matrix that it was fitted on; the model drops the other columns."""

    width: int = Field(ge=1, le=MOST_COLUMNS)
    places: tuple[int, ...]
    """Ascending, one for each feature."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not all(low < high for low, high in pairwise((-1, *self.places, self.width))):
            raise ValueError("places must ascend and be within the width")
        return self


class FeatureReference(_Frozen):
    """How numbers, a feature's or a regressor's answers, were distributed: what drift is measured against."""

    edges: tuple[float, ...]
    """Ascending; bin i holds the values that are at least edges[i - 1] and below edges[i]."""
    shares: tuple[float, ...]
    """Of the rows, one for each of the len(edges) + 1 bins, and last of those without a value."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        ascending = all(low < high for low, high in pairwise((-math.inf, *self.edges, math.inf)))
        if not ascending or len(self.shares) != len(self.edges) + 2 or not all(0 <= s <= 1 for s in self.shares):
            raise ValueError("edges must ascend, and there must be a share for each bin and for missing values")
        return self


class ClassReference(_Frozen):
    """How often a classifier predicted each class at its training."""

    rows: int
    """That it predicted."""
    shares: tuple[float, ...]
    """In the order of the manifest's classes."""

    @model_validator(mode="after")
    def _are_shares(self) -> Self:
        if self.rows < 1 or not all(0 <= share <= 1 for share in self.shares):
            raise ValueError("there must be rows, and shares between 0 and 1")
        return self


PredictionReference = ClassReference | FeatureReference
"""Of a classifier's answers or a regressor's."""


class FileDigest(_Frozen):
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size: int = Field(ge=0)
    """Bytes."""


_FILE_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,40}(\.[a-z0-9]{1,15})?")


def _file_name(name: str) -> str:
    if not _FILE_NAME.fullmatch(name) or name == MANIFEST:
        raise ValueError(f"it names a file outside its directory, or no file that a bundle has: {name[:100]!r}")
    return name


FileName = Annotated[str, AfterValidator(_file_name)]
"""Of a file beside the manifest: nothing that leads elsewhere, takes the manifest's place, or no disk can hold."""


class Manifest(_Frozen):
    """Everything the server needs to know of a model without importing any model library."""

    format: Literal[1] = FORMAT
    identity: Identity
    backend: Literal["native", "sklearn"]
    fallback_reason: str | None = None
    """Why scikit-learn serves the model and not the native backend; None if the native one does."""
    estimator: str
    """Qualified class name of the fitted estimator, `sklearn.pipeline.Pipeline` for pipelines."""
    task: Literal["classification", "regression"]
    n_features: int = Field(ge=1, le=MOST_COLUMNS)
    feature_names: tuple[str, ...] | None = None
    """In the order of the matrix; requests match their columns to them by name where they have names."""
    placement: Placement | None = None
    """Where the features are in the matrix that the backend takes; None: that matrix has no other columns."""
    classes: tuple[Label, ...] | None = None
    """Class labels in the order of the probability columns; None for regressors."""
    has_probabilities: bool = False
    has_scores: bool = False
    """Whether the model has raw scores (scikit-learn's `decision_function`)."""
    accepts_missing: bool = False
    """Whether the model takes NaN for a missing value."""
    trained_with: Mapping[str, str] = {}
    """Distribution name → version that the model itself declares (`scikit-learn`, `numpy`, `python`, …)."""
    warnings: tuple[str, ...] = ()
    """What the checks before the load found and let pass, such as another version of scikit-learn."""
    trusted_types: tuple[str, ...] = ()
    """Types beyond skops' own list that the loader allowed; the server passes exactly these to skops."""
    drift_reference: tuple[FeatureReference, ...] | None = None
    """One for each feature, for models that Fairlead trained."""
    prediction_reference: PredictionReference | None = None
    """Of the model's answers at its training: to rows held out, or to those it has seen if they were too few."""
    input_example: tuple[tuple[float, ...], ...] | None = None
    """Rows of shape (n, n_features), used to warm the server up."""
    signature: Mapping[str, object] | None = None
    """The MLflow signature as logged, for people; validation uses n_features."""
    proof: Proof
    model_sha256: str | None = None
    """Digest of the model file as MLflow has it: what a bundle that lies beside its model is held to."""
    program_format: int | None = None
    """Format of the compiled program; None without one."""
    made_with: Mapping[str, str] = {}
    """Distribution name → version where the bundle was made and proven (`fairlead`, `scikit-learn`, `numpy`, …)."""
    created_at: datetime
    files: Mapping[FileName, FileDigest] = {}

    @model_validator(mode="after")
    def _columns_fit(self) -> Self:
        if self.feature_names is not None and len(self.feature_names) != self.n_features:
            raise ValueError(f"there are {len(self.feature_names)} feature names for {self.n_features} features")
        if self.placement is not None and len(self.placement.places) != self.n_features:
            raise ValueError(f"there are {len(self.placement.places)} places for {self.n_features} features")
        return self

    @model_validator(mode="after")
    def _references_fit(self) -> Self:
        if self.drift_reference is not None and len(self.drift_reference) != self.n_features:
            raise ValueError(
                f"drift_reference is of {len(self.drift_reference)} features, the model of {self.n_features}"
            )
        answers = self.prediction_reference
        if answers is not None and (
            isinstance(answers, FeatureReference) != (self.classes is None)
            or (isinstance(answers, ClassReference) and len(answers.shares) != len(self.classes or ()))
        ):
            raise ValueError("prediction_reference is not of the model's classes, or not of numbers for a regressor")
        return self

    @property
    def knows_training(self) -> bool:
        """Whether drift can be measured."""
        return self.drift_reference is not None or self.prediction_reference is not None


class Bundle(_Frozen):
    directory: Path
    manifest: Manifest

    def path(self, name: str) -> Path:
        """The path of one of the bundle's files."""
        if name not in self.manifest.files:
            raise BundleError(f"the bundle in {self.directory} has no file {name!r}")
        return self.directory / name


def write(directory: Path, manifest: Manifest, files: Mapping[str, bytes]) -> Bundle:
    """Writes a bundle so that `directory` appears whole or not at all; an older bundle there is replaced.

    `manifest.files` is filled in here. Names are plain file names (no separators).
    """
    directory = directory.absolute()
    directory.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        digests = {name: _write_file(staging / name, content) for name, content in files.items()}
        complete = manifest.model_copy(update={"files": digests})
        _write_file(staging / MANIFEST, complete.model_dump_json(indent=2).encode())
        os.chmod(staging, 0o755)
        _replace(staging, directory)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return Bundle(directory=directory, manifest=complete)


def identify(bundle: Bundle, name: str, version: str) -> Bundle:
    """Rewrites a bundle with the registered name and version its model got after it was written."""
    return _amend(bundle, identity=bundle.manifest.identity.model_copy(update={"name": name, "version": version}))


def know_training(
    bundle: Bundle, features: tuple[FeatureReference, ...] | None, predictions: PredictionReference | None
) -> Bundle:
    """Rewrites a bundle with what drift is measured against, which is not in the model."""
    return _amend(bundle, drift_reference=features, prediction_reference=predictions)


def _amend(bundle: Bundle, **changes: object) -> Bundle:
    files = {file: bundle.path(file).read_bytes() for file in bundle.manifest.files}
    return write(bundle.directory, bundle.manifest.model_copy(update=changes), files)


def read(directory: Path) -> Bundle:
    """Reads and verifies a bundle.

    Raises BundleError if it is missing, of another format, or any file differs from its digest.
    """
    try:
        raw = (directory / MANIFEST).read_bytes()
        found = json.loads(raw).get("format")
        if found != FORMAT:
            raise BundleError(f"{directory / MANIFEST} has format {found!r}, this server reads format {FORMAT}")
        manifest = Manifest.model_validate_json(raw)
    except OSError as error:
        raise BundleError(f"no bundle in {directory}: {error}") from error
    except (ValueError, AttributeError, RecursionError, ValidationError) as error:
        raise BundleError(f"{directory / MANIFEST} is not a bundle manifest: {error}") from error
    for name, expected in manifest.files.items():
        _verify(directory / name, expected)
    return Bundle(directory=directory, manifest=manifest)


def _write_file(path: Path, content: bytes) -> FileDigest:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return FileDigest(sha256=hashlib.sha256(content).hexdigest(), size=len(content))


def _replace(staging: Path, directory: Path) -> None:
    """Renames staging to directory; a directory that is there is moved aside first, and removed after."""
    if directory.exists():
        aside = Path(tempfile.mkdtemp(prefix=f".{directory.name}.old.", dir=directory.parent))
        directory.rename(aside / "bundle")
        staging.rename(directory)
        shutil.rmtree(aside, ignore_errors=True)
    else:
        staging.rename(directory)


def _verify(path: Path, expected: FileDigest) -> None:
    try:
        with path.open("rb") as file:
            actual = hashlib.file_digest(file, "sha256").hexdigest()
        size = path.stat().st_size
    except OSError as error:
        raise BundleError(f"bundle file {path} cannot be read: {error}") from error
    if (actual, size) != (expected.sha256, expected.size):
        raise BundleError(f"bundle file {path} is not what the loader wrote: {size} bytes, sha256 {actual}")
