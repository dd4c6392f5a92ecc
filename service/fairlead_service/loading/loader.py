"""One load from start to end: resolve, fetch, check, prove, write."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from fairlead_service.contract import FailureReason
from fairlead_service.loading import estimator as estimators
from fairlead_service.loading import mlmodel, proof, reference, versions
from fairlead_service.loading.errors import LoadError, corrupt, not_found, refused
from fairlead_service.loading.mlmodel import ModelDescription
from fairlead_service.loading.safety import ALLOWED_TYPES
from fairlead_service.loading.source import Artifacts, ResolvedModel, Source
from fairlead_service.loading.versions import VersionPolicy
from fairlead_service.models import bundle
from fairlead_service.models.bundle import Bundle, Identity, Manifest, Proof

Progress = Callable[[str, str], None]
"""Called with (stage, message)."""

DEFAULT_MAX_BYTES: Final = 2 * 2**30
SMALL_FILE_BYTES: Final = 16 * 2**20
"""Limit of each file that describes the model (MLmodel, requirements, input example)."""


@dataclass(frozen=True)
class LoadOptions:
    run_id: str | None = None
    """The run the caller believes the model to be from; another one is an error."""
    name: str | None = None
    version: str | None = None
    allow_pickle: bool = False
    version_policy: VersionPolicy = VersionPolicy.MINOR
    max_bytes: int = DEFAULT_MAX_BYTES
    """Limit of the download, and of what it unpacks to."""


@dataclass(frozen=True)
class _Fetched:
    description: ModelDescription
    path: Path
    trained_with: Mapping[str, str]
    example: proof.Rows | None


def load(uri: str, destination: Path, source: Source, options: LoadOptions, progress: Progress) -> Bundle:
    """Fetches a model, checks it, tests it and writes its bundle to `destination`.

    Raises LoadError with a reason that says whether trying again can help.
    """
    resolved = _identified(source.resolve(reference.parse(uri), uri), options)
    destination.absolute().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fairlead-load-", dir=destination.absolute().parent) as scratch:
        progress("fetch", f"{resolved.uri} from {resolved.artifact_uri}")
        fetched = _fetch(source.artifacts(resolved), Path(scratch), options)
        progress("check", f"{fetched.path.name} ({fetched.description.serialization})")
        _check_versions(fetched, options, progress)
        opened = _open(fetched, options)
    declared = mlmodel.inputs(fetched.description.signature)
    found = proof.traits(opened.estimator, declared, fetched.example)
    progress("prove", f"{found.estimator}, {found.n_features} features")
    proven = proof.self_test(opened.estimator, found, fetched.example)
    progress("write", str(destination))
    manifest = _manifest(resolved, fetched, opened, found, proven)
    return bundle.write(destination, manifest, {bundle.SKOPS_FILE: opened.skops})


def reuse(uri: str, destination: Path, options: LoadOptions) -> Bundle | None:
    """The bundle already at `destination` if it is this very model, whole, and would pass today's checks.

    A restarted pod must not need MLflow. Aliases move, so they are always resolved anew.
    """
    try:
        found = bundle.read(destination)
    except bundle.BundleError:
        return None
    manifest, identity = found.manifest, found.manifest.identity
    wanted = reference.parse(uri)
    by_version = isinstance(wanted, reference.ModelVersion) and (identity.name, identity.version) == (
        wanted.name,
        wanted.version,
    )
    same = by_version or identity.model_uri == uri
    for asked, have in (
        (options.run_id, identity.run_id),
        (options.name, identity.name),
        (options.version, identity.version),
    ):
        same = same and asked in (None, have)
    allowed = options.allow_pickle or set(manifest.trusted_types) <= ALLOWED_TYPES
    verdict = versions.compare(manifest.trained_with, versions.installed(), options.version_policy, pickled=False)
    return found if same and allowed and not verdict.refused else None


def _identified(resolved: ResolvedModel, options: LoadOptions) -> ResolvedModel:
    """Joins what MLflow says with what the caller knows; they must not contradict each other."""
    if options.run_id and resolved.run_id and options.run_id != resolved.run_id:
        raise not_found(f"{resolved.uri} was logged by run {resolved.run_id}, not by run {options.run_id}")
    return replace(
        resolved,
        run_id=resolved.run_id or options.run_id,
        name=options.name or resolved.name,
        version=options.version or resolved.version,
    )


def _fetch(artifacts: Artifacts, directory: Path, options: LoadOptions) -> _Fetched:
    """Downloads the few files that matter; whatever else is beside them stays where it is."""
    sizes = artifacts.sizes()

    def fetch(name: str, limit: int) -> Path:
        if name not in sizes:
            raise corrupt(f"the model has no file {name}; it has {', '.join(sorted(sizes)) or 'no files at all'}")
        expected = sizes[name]
        if expected is not None and expected > limit:
            raise refused(f"file {name} of the model has {expected} bytes, more than the {limit} allowed")
        path = directory / name
        artifacts.download(name, path, limit)
        actual = path.stat().st_size
        if expected is not None and actual != expected:
            raise corrupt(f"file {name} of the model is truncated: {actual} bytes of {expected}")
        return path

    description = mlmodel.describe(fetch("MLmodel", SMALL_FILE_BYTES).read_bytes())
    trained_with = dict(description.versions)
    if "requirements.txt" in sizes:
        text = fetch("requirements.txt", SMALL_FILE_BYTES).read_text(errors="replace")
        trained_with = mlmodel.requirements(text) | trained_with
    example = None
    if description.example_file is not None and description.example_file in sizes:
        example = mlmodel.example_rows(fetch(description.example_file, SMALL_FILE_BYTES).read_bytes())
    return _Fetched(description, fetch(description.model_file, options.max_bytes), trained_with, example)


def _manifest(
    resolved: ResolvedModel, fetched: _Fetched, opened: estimators.Opened, found: proof.Traits, proven: Proof
) -> Manifest:
    return Manifest(
        identity=Identity(
            run_id=resolved.run_id or "",
            model_uri=resolved.uri,
            model_id=resolved.model_id,
            name=resolved.name,
            version=resolved.version,
        ),
        backend="sklearn",
        estimator=found.estimator,
        task=found.task,
        n_features=found.n_features,
        feature_names=found.feature_names,
        classes=found.classes,
        has_probabilities=found.has_probabilities,
        trained_with=dict(fetched.trained_with),
        trusted_types=opened.trusted_types,
        input_example=fetched.example,
        signature=fetched.description.signature,
        proof=proven,
        created_at=datetime.now(UTC),
    )


def _check_versions(fetched: _Fetched, options: LoadOptions, progress: Progress) -> None:
    pickled = fetched.description.serialization != "skops"
    verdict = versions.compare(fetched.trained_with, versions.installed(), options.version_policy, pickled=pickled)
    for difference in verdict.tolerated:
        progress("check", f"warning: {difference}")
    if verdict.refused:
        raise LoadError(FailureReason.VERSION_MISMATCH, "; ".join(map(str, verdict.refused)))


def _open(fetched: _Fetched, options: LoadOptions) -> estimators.Opened:
    if fetched.description.serialization == "skops":
        return estimators.open_skops(fetched.path, options.max_bytes)
    return estimators.open_pickle(
        fetched.path, fetched.description.serialization, allowed=options.allow_pickle, limit=options.max_bytes
    )
