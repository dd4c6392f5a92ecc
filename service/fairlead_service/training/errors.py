"""What the trainer raises when a request cannot become a model."""

from fairlead_service.addresses import shown
from fairlead_service.contract import TrainingReason


class TrainingError(Exception):
    """A training gave no model. `where` is a JSON pointer into the request, for what the caller can mend."""

    def __init__(self, reason: TrainingReason, message: str, where: str | None = None) -> None:
        super().__init__(shown(message))
        self.reason = reason
        self.message = shown(message)
        self.where = where


def invalid_data(message: str, where: str) -> TrainingError:
    return TrainingError(TrainingReason.INVALID_DATA, message, where)


class CancelledError(BaseException):
    """The trainer was told to stop; not an Exception, so that no library swallows it."""
