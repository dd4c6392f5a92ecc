"""One load from start to end: resolve, fetch, check, compile, prove, write; or take the bundle that is there."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from fairlead_service import native
from fairlead_service.contract import FailureReason
from fairlead_service.failures import LoadError, not_found, refused
from fairlead_service.loading import attached, memory, mlmodel, reference, scratch, versions
from fairlead_service.loading import estimator as estimators
from fairlead_service.loading import fetch as fetching
from fairlead_service.loading.choice import Choice, choose
from fairlead_service.loading.fetch import Described, Files
from fairlead_service.loading.safety import ALLOWED_TYPES
from fairlead_service.loading.source import ResolvedModel, Source
from fairlead_service.loading.traits import traits
from fairlead_service.loading.versions import VersionPolicy
from fairlead_service.models import bundle
from fairlead_service.models.bundle import Bundle, Identity, Manifest, Proof
from fairlead_service.observability.stages import stage

Progress = Callable[[str, str], None]
"""Called with (stage, message)."""

DEFAULT_MAX_BYTES: Final = 2 * 2**30
_MADE_WITH: Final = ("fairlead", *versions.COMPARED)


@dataclass(frozen=True)
class LoadOptions:
    run_id: str | None = None
    """What the caller believes the model to be: its run, or the logged model (`m-…`); another one is an error."""
    name: str | None = None
    version: str | None = None
    allow_pickle: bool = False
    version_policy: VersionPolicy = VersionPolicy.MINOR
    max_bytes: int = DEFAULT_MAX_BYTES
    """Limit of the download, and of what it unpacks to."""
    memory_limit: int | None = None
    """Bytes that this process, and the server after it, may use."""


def load(
    uri: str,
    destination: Path,
    source: Source,
    options: LoadOptions,
    progress: Progress,
    scratch_parent: Path | None = None,
) -> Bundle:
    """Fetches a model, checks it, compiles and proves it if it can be, and writes its bundle to `destination`.

    `scratch_parent`: a directory that the caller removes, also when this process is killed; without one, what killed
    loaders have left beside `destination` is removed here. Raises LoadError with a reason that says whether trying
    again can help.
    """
    with stage("resolve"):
        resolved = _identified(source.resolve(reference.parse(uri)), options)
    destination.absolute().parent.mkdir(parents=True, exist_ok=True)
    with scratch.directory(scratch_parent, destination.absolute().parent) as directory:
        progress("fetch", f"{resolved.uri} from {resolved.artifact_uri}")
        with stage("fetch"):
            files = Files(source.artifacts(resolved), directory)
            described = fetching.describe(files)
        estimators.check_serialization(described.description.serialization, allow_pickle=options.allow_pickle)
        warnings = _check_versions(described, options, progress)
        made = _Load(resolved, files, described, options, progress, warnings).make()
        progress("write", str(destination))
        with stage("write"):
            return bundle.write(destination, made.manifest, made.files)


@dataclass(frozen=True)
class _Load:
    """A model that may be loaded, and the two ways to a bundle of it."""

    resolved: ResolvedModel
    files: Files
    described: Described
    options: LoadOptions
    progress: Progress
    warnings: tuple[str, ...]

    def make(self) -> Choice:
        claim = None
        if attached.DIRECTORY in self.files.listing.directories:
            beside = self.files.below(attached.DIRECTORY)
            try:
                with stage("fetch"):
                    claim = attached.manifest(beside)
                return self._take(claim, beside)
            except attached.UnusableError as error:
                self.progress("check", f"the compiled bundle beside the model is not used: {error}")
        return self._compile(claim)

    def _take(self, claim: Manifest, beside: Files) -> Choice:
        """The bundle beside the model. Raises UnusableError if the model has to be compiled here."""
        with stage("check"):
            attached.check(claim, self.options.version_policy)
            tight = self._fits(sum(file.size for file in claim.files.values()), memory.TAKE)
        with stage("fetch"):
            opened = attached.fetch(beside, claim, self.options.max_bytes)
            path = self._model_file()
        with stage("prove"):
            attached.check_digest(claim, fetching.sha256(path))
            attached.answer(opened)
        self.progress("prove", f"compiled and proven on {claim.proof.rows} rows when it was logged")
        own: dict[str, Any] = {"identity": self._identity(), "trained_with": dict(self.described.trained_with)}
        own |= {"warnings": (*self.warnings, *tight), "created_at": datetime.now(UTC)}
        contents = {name: opened.path(name).read_bytes() for name in claim.files}
        return Choice(claim.model_copy(update=own), contents)

    def _compile(self, claim: Manifest | None) -> Choice:
        """Loads the model and chooses the backend that serves it. `claim`: what a bundle beside it says it is of."""
        description = self.described.description
        with stage("fetch"):
            example = fetching.example(self.files, description)
            known = self.files.listing.files.get(description.model_file)
            tight = () if known is None else self._fits(known, memory.COMPILE)
            path = self._model_file()
            if known is None:
                tight = self._fits(path.stat().st_size, memory.COMPILE)
        digest = fetching.sha256(path)
        if claim is not None:
            attached.check_digest(claim, digest)
        self.progress("check", f"{path.name} ({description.serialization})")
        with stage("check"):
            opened = self._open(path, description.serialization)
            found = traits(opened.estimator, mlmodel.inputs(description.signature), example)
        for text in found.columns.warnings:
            self.progress("check", f"warning: {text}")
        self.progress("prove", f"{found.estimator}, {found.columns.n_features} features")
        draft = Manifest(
            identity=self._identity(),
            backend="sklearn",
            trained_with=dict(self.described.trained_with),
            warnings=(*self.warnings, *tight, *found.columns.warnings),
            trusted_types=opened.trusted_types,
            signature=description.signature,
            proof=Proof(rows=0, verdict="untested"),
            model_sha256=digest,
            made_with=versions.installed(_MADE_WITH),
            created_at=datetime.now(UTC),
            **found.manifest_fields(),
        )
        return choose(opened, found, draft, path.parent, lambda text: self.progress("prove", text))

    def _fits(self, size: int, need: memory.Need) -> tuple[str, ...]:
        """A warning if memory may be too small. Raises LoadError(ModelRefused) if it is."""
        found = memory.complaint(size, need, self.options.memory_limit)
        if found is None:
            return ()
        hopeless, said = found
        if hopeless:
            raise refused(said)
        self.progress("check", f"warning: {said}")
        return (said,)

    def _open(self, path: Path, serialization: str) -> estimators.Opened:
        limit = self.options.max_bytes
        if serialization == "skops":
            return estimators.open_skops(path, limit)
        return estimators.open_pickle(path, serialization, allowed=self.options.allow_pickle, limit=limit)

    def _model_file(self) -> Path:
        return self.files.fetch(self.described.description.model_file, self.options.max_bytes)

    def _identity(self) -> Identity:
        return Identity(
            run_id=self.resolved.identity or "",
            model_uri=self.resolved.uri,
            model_id=self.resolved.model_id,
            name=self.resolved.name,
            version=self.resolved.version,
        )


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
    same = by_version or identity.model_uri == reference.written(wanted)
    for asked, have in (
        (options.run_id, identity.run_id),
        (options.name, identity.name),
        (options.version, identity.version),
    ):
        same = same and asked in (None, have)
    allowed = options.allow_pickle or set(manifest.trusted_types) <= ALLOWED_TYPES
    verdict = versions.compare(manifest.trained_with, versions.installed(), options.version_policy, pickled=False)
    return found if same and allowed and not verdict.refused and _runs_here(manifest) else None


def _runs_here(manifest: Manifest) -> bool:
    """Whether a native bundle's program is of the format that this image has a kernel for; any other bundle runs."""
    if manifest.backend != "native":
        return True
    from fairlead_service.models.backends.native.program import PROGRAM_FORMAT

    return manifest.program_format == PROGRAM_FORMAT and native.available()


def _identified(resolved: ResolvedModel, options: LoadOptions) -> ResolvedModel:
    """Joins what MLflow says with what the caller knows; they must not contradict each other."""
    wanted, known = options.run_id, {resolved.run_id, resolved.model_id} - {None}
    if wanted and known and wanted not in known:
        by = f"by run {resolved.run_id}" if resolved.run_id else f"outside a run, as {resolved.model_id}"
        raise not_found(f"{resolved.uri} was logged {by}, not as {wanted}")
    return replace(
        resolved,
        run_id=resolved.run_id if known else wanted,
        name=options.name or resolved.name,
        version=options.version or resolved.version,
    )


def _check_versions(described: Described, options: LoadOptions, progress: Progress) -> tuple[str, ...]:
    """What differs and is let pass. Raises LoadError(VersionMismatch)."""
    pickled = described.description.serialization != "skops"
    verdict = versions.compare(described.trained_with, versions.installed(), options.version_policy, pickled=pickled)
    if verdict.refused:
        raise LoadError(FailureReason.VERSION_MISMATCH, "; ".join(map(str, verdict.refused)))
    for difference in verdict.tolerated:
        progress("check", f"warning: {difference.fact}")
    return tuple(difference.fact for difference in verdict.tolerated)
