"""MLflow's own client, where plain HTTP will not do: quiet, and with bounds on how long it tries.

Its retries pause for 0, 4, 8, … seconds and up to one more by chance, for all methods and for 408, 429 and 5xx.
"""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final

from fairlead_service import addresses
from fairlead_service.tracking import TrackingServer

RETRIES: Final = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
TIMEOUT: Final = "MLFLOW_HTTP_REQUEST_TIMEOUT"
_PATIENT_RETRIES: Final = 6
_DEFAULTS: Final = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    RETRIES: "3",
    TIMEOUT: "30",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}
"""Set before MLflow is imported, unless the operator of this process chose otherwise."""


def prepare(server: TrackingServer) -> None:
    """Imports MLflow's client and points it at the server. It finds the credentials in the environment."""
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    os.environ[addresses.TRACKING_URI] = server.url
    if server.username:
        os.environ[addresses.TRACKING_USERNAME] = server.username
        os.environ[addresses.TRACKING_PASSWORD] = server.password or ""
    import mlflow

    mlflow.set_tracking_uri(server.url)
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"mlflow\..*")


def patient() -> AbstractContextManager[None]:
    """Where much work would be lost: about two minutes, in which an MLflow that is replaced is back."""
    return trying(max(_PATIENT_RETRIES, int(os.environ.get(RETRIES, 0))))


@contextmanager
def trying(retries: int, timeout_seconds: int | None = None) -> Iterator[None]:
    """Other bounds for what is asked within: MLflow reads them at each request."""
    before = {name: os.environ.get(name) for name in (RETRIES, TIMEOUT)}
    os.environ[RETRIES] = str(retries)
    if timeout_seconds is not None:
        os.environ[TIMEOUT] = str(timeout_seconds)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
