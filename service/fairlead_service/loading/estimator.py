"""From a model file to a live estimator and the skops bytes that the server will load."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairlead_service.failures import LoadError, corrupt, refused, unsupported
from fairlead_service.loading import safety


@dataclass(frozen=True)
class Opened:
    estimator: Any
    skops: bytes
    trusted_types: tuple[str, ...]
    """Exactly the types that skops must be told to trust to load these bytes."""


def open_skops(path: Path, limit: int) -> Opened:
    """Loads a skops file made of allowed types only.

    Raises LoadError: ModelCorrupt, ModelRefused.
    """
    safety.check_archive(path, limit)
    types = safety.needed_types(path)
    safety.check_types(types)
    return Opened(_load(path, types), path.read_bytes(), types)


def check_serialization(serialization: str, *, allow_pickle: bool) -> None:
    """Raises LoadError(ModelRefused) for a model that runs code when it is read, unless that is allowed."""
    if serialization != "skops" and not allow_pickle:
        raise refused(
            f"the model is stored as {serialization}, which can run any code when read; log it with "
            "mlflow.sklearn.log_model(…, serialization_format='skops', skops_trusted_types=[…]) "
            "(mlflow.autolog writes pickles), or set allowPickle if you trust whoever logged it"
        )


def open_pickle(path: Path, serialization: str, *, allowed: bool, limit: int) -> Opened:
    """Unpickles, which may run any code the author put there, and re-dumps as skops so that no server unpickles.

    Raises LoadError: ModelRefused unless allowed, ModelCorrupt, ModelUnsupported if skops can't express the model.
    """
    check_serialization(serialization, allow_pickle=allowed)
    estimator = _unpickle(path)
    import skops.io

    rewritten = path.with_name("rewritten.skops")
    try:
        rewritten.write_bytes(skops.io.dumps(estimator))
        safety.check_archive(rewritten, limit)
        types = safety.needed_types(rewritten)
        return Opened(_load(rewritten, types), rewritten.read_bytes(), types)
    except LoadError as error:
        raise unsupported(f"the pickled model does not survive being stored as skops: {error.message}") from error
    except Exception as error:
        raise unsupported(
            f"the pickled model can't be stored as skops: {type(error).__name__}: {error}; functions and classes in it "
            "must be importable by name in this image"
        ) from error


def _load(path: Path, types: tuple[str, ...]) -> Any:
    import skops.io

    from fairlead_service.loading import structure

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            estimator = skops.io.load(path, trusted=list(types))
    except Exception as error:  # allowed types, unexpected contents: a truncated, altered or foreign file
        raise corrupt(f"{path.name} cannot be loaded: {type(error).__name__}: {error}") from error
    structure.check(estimator)
    return estimator


def _unpickle(path: Path) -> Any:
    import pickle

    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return pickle.load(file)
    except (ImportError, AttributeError) as error:
        raise unsupported(f"the pickled model needs code that this image does not have: {error}") from error
    except Exception as error:  # unpickling runs the author's code
        raise corrupt(f"{path.name} cannot be unpickled: {type(error).__name__}: {error}") from error
