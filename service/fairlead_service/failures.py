"""What is raised when a model cannot be had: by the loader, and by whoever asks MLflow."""

from fairlead_service.addresses import shown
from fairlead_service.contract import FailureReason


class LoadError(Exception):
    """A model could not be loaded, for a reason the operator and the server act on."""

    def __init__(self, reason: FailureReason, message: str) -> None:
        super().__init__(shown(message))
        self.reason = reason
        self.message = shown(message)


def not_found(message: str) -> LoadError:
    return LoadError(FailureReason.MODEL_NOT_FOUND, message)


def corrupt(message: str) -> LoadError:
    return LoadError(FailureReason.MODEL_CORRUPT, message)


def refused(message: str) -> LoadError:
    return LoadError(FailureReason.MODEL_REFUSED, message)


def unsupported(message: str) -> LoadError:
    return LoadError(FailureReason.MODEL_UNSUPPORTED, message)


def unavailable(message: str) -> LoadError:
    return LoadError(FailureReason.TRACKING_SERVER_UNAVAILABLE, message)
