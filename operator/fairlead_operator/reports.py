"""What a serving pod says when it is asked, as plain values; `pods` asks, and everything pure works with these."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from pydantic import AwareDatetime, TypeAdapter

from fairlead_operator.api import ModelRef, Reason

Label = bool | int | float | str
Row = tuple[float | None, ...]
"""One number a feature; None is a missing value."""


@dataclass(frozen=True)
class Loading:
    """A load that runs in the pod while its model goes on serving."""

    run_id: str
    stage: str


@dataclass(frozen=True)
class FailedLoad:
    """The pod's last load, if it failed: what served went on serving."""

    run_id: str
    reason: Reason
    message: str
    at: AwareDatetime


@dataclass(frozen=True)
class Info:
    """The model that serves in a pod; what pods of older versions do not say is as if there were none of it."""

    run_id: str
    model_name: str | None
    model_version: str | None
    task: Literal["classification", "regression"]
    feature_names: tuple[str, ...] | None = None
    input_example: tuple[Row, ...] | None = None
    previous: str | None = None
    """The run that the pod would serve again without loading it."""
    loading: Loading | None = None
    failed_load: FailedLoad | None = None
    model_uri: str | None = None

    def serves(self, model: ModelRef) -> bool:
        """Whether this is that very model. What the reference does not name may be anything: a pod that was asked by
        less would not load it again either."""
        of_run = model.model_uri.startswith(("runs:/", "models:/m-"))  # versions are told apart by name and number
        return (
            self.run_id == model.run_id
            and model.model_name in (None, self.model_name)
            and model.model_version in (None, self.model_version)
            and not (of_run and self.model_uri not in (None, model.model_uri))
        )


@dataclass(frozen=True)
class Report:
    """What came of speaking with a pod."""

    restarts: int
    """Of its containers, when it was asked: after another one it may serve another model."""
    at: datetime
    info: Info | None
    """None: it did not answer."""
    trouble: str = ""
    """Why there is no answer, or why it did not take what it was told."""
    told: ModelRef | None = None
    """What it was told to load just before it was asked."""


@dataclass(frozen=True)
class Samples:
    """Rows that users sent, the newest last; none from a pod that does not keep any."""

    features: tuple[Row, ...] = ()
    columns: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Predictions:
    run_id: str
    predictions: tuple[Label, ...]
    seconds: float = 0.0
    """From sending the request to having read the answer."""


INFO: Final = TypeAdapter(Info)
SAMPLES: Final = TypeAdapter(Samples)
PREDICTIONS: Final = TypeAdapter(Predictions)
"""Read the bodies of `/model/info`, `/model/samples` and `/predict`; raise ValueError for anything else."""
