"""Files of a training's request, as the server, or the process that parses long bodies, leaves them for the trainer."""

from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final

from fairlead_service.api.train_request import TrainInput, decode_train
from fairlead_service.errors import Problem

BODY: Final = "body.json"
"""A body that has not been parsed yet."""


def decode(directory: Path, limits: dict[str, Any]) -> dict[str, Any]:
    """The child's side: reads `body.json`, and leaves what a training needs in its place."""
    body = directory / BODY
    try:
        training = decode_train(body.read_bytes(), limits["rows"], entry_points(group="fairlead.algorithms").names)
    except Problem as problem:
        told = {"slug": problem.slug, "detail": problem.detail}
        return {"problem": told | {"errors": [error.model_dump() for error in problem.errors]}}
    finally:
        body.unlink(missing_ok=True)
    write(directory, training, {"limits": limits})
    kept = {"algorithm", "model_name", "data_uri", "target_column", "load"}
    return {"options": training.options.model_dump(mode="json", include=kept, exclude_none=True)}


def write(directory: Path, training: TrainInput, more: dict[str, Any]) -> None:
    """Leaves a training's request, and its matrix, where its process looks for them."""
    import numpy as np

    if training.matrix is not None:
        np.save(directory / "data.npy", training.matrix, allow_pickle=False)
    (directory / "request.json").write_bytes(training.to_json(**more))
