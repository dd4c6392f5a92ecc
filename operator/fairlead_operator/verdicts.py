"""What became of models here, for whoever looks at them in the model registry. Found by comparing two statuses, as
`events` does; pure. `registrar` tells it.

A verdict is about a *place* in the registry that can hold a tag: a registered version, or the run of a model that has
none.
"""

from collections.abc import Iterable
from typing import Final

from fairlead_operator.api import ModelRef, ModelVerdict, Rejection, Status
from fairlead_operator.desired.naming import child_name

SERVING: Final = "Serving"
REPLACED: Final = "Replaced"
MAX_TEXT: Final = 300
MAX_KEY: Final = 250
"""What MLflow takes."""


def tag_key(namespace: str, name: str) -> str:
    """One tag for each resource: several may serve the same model."""
    key = f"fairlead.{namespace}.{name}"
    return key if len(key) <= MAX_KEY else f"fairlead.{namespace}.{child_name(name)}"


def place(model: ModelRef | ModelVerdict) -> tuple[str, str]:
    if model.model_name and model.model_version:
        return model.model_name, model.model_version
    return "", model.run_id


def verdicts(old: Status, new: Status) -> tuple[ModelVerdict, ...]:
    """What the second status says that the first did not."""
    found = []
    before, after = old.serving, new.serving
    moved = before is None or after is None or place(before) != place(after)
    if before and moved:
        found.append(_verdict(before, REPLACED))
    known = {(rejection.trial, rejection.at) for rejection in old.rejected}
    found += [_rolled_back(rejection) for rejection in new.rejected if (rejection.trial, rejection.at) not in known]
    if after and moved:
        found.append(_verdict(after, SERVING))
    return tuple(found)


def outbox(waiting: Iterable[ModelVerdict], news: Iterable[ModelVerdict]) -> tuple[ModelVerdict, ...]:
    """What is still to be told, oldest first: of two verdicts about the same place only the newer."""
    left: dict[tuple[str, str], ModelVerdict] = {}
    for verdict in (*waiting, *news):
        left.pop(place(verdict), None)
        left[place(verdict)] = verdict
    return tuple(left.values())


def corrections(told: Iterable[ModelVerdict], status: Status) -> tuple[ModelVerdict, ...]:
    """For verdicts that were told of a status which was then never written: what this one says instead."""
    standing: dict[tuple[str, str], ModelVerdict] = {}
    for rejection in status.rejected:
        standing[place(rejection)] = _rolled_back(rejection)
    if status.serving:
        standing[place(status.serving)] = _verdict(status.serving, SERVING)
    now = ((verdict, standing.get(place(verdict), verdict.model_copy(update={"text": REPLACED}))) for verdict in told)
    return tuple(right for verdict, right in now if right != verdict)


def _rolled_back(rejection: Rejection) -> ModelVerdict:
    return _verdict(rejection, f"RolledBack: {rejection.reason}: {rejection.message}")


def _verdict(model: ModelRef, text: str) -> ModelVerdict:
    short = text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"
    return ModelVerdict(run_id=model.run_id, model_name=model.model_name, model_version=model.model_version, text=short)
