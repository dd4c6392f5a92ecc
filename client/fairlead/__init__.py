"""The Python client of Fairlead's API.

    from fairlead import Client

    with Client("http://127.0.0.1:8000") as fairlead:
        trained = fairlead.train(rows, labels, algorithm="random_forest")
        answer = fairlead.predict(rows)

`AsyncClient` has the same methods, to be awaited. Both are thin: what is asked is in `calls`, what comes back in
`results`, when a request is sent again in `retries`, none of which does I/O.
"""

from fairlead.aio import AsyncClient, AsyncJob
from fairlead.client import Client, Job
from fairlead.errors import ApiError, FairleadError, FieldError, JobError, UnreachableError
from fairlead.results import (
    Algorithm,
    Algorithms,
    Health,
    LoadedModel,
    MetricsSummary,
    ModelDetails,
    ModelInfo,
    ModelVersion,
    Prediction,
    RegisteredModel,
    RegisteredModels,
    Run,
    Runs,
    Training,
    TrainingJob,
    TrainingJobs,
)
from fairlead.retries import Retries
from fairlead.transport import Tls

__all__ = [
    "Algorithm",
    "Algorithms",
    "ApiError",
    "AsyncClient",
    "AsyncJob",
    "Client",
    "FairleadError",
    "FieldError",
    "Health",
    "Job",
    "JobError",
    "LoadedModel",
    "MetricsSummary",
    "ModelDetails",
    "ModelInfo",
    "ModelVersion",
    "Prediction",
    "RegisteredModel",
    "RegisteredModels",
    "Retries",
    "Run",
    "Runs",
    "Tls",
    "Training",
    "TrainingJob",
    "TrainingJobs",
    "UnreachableError",
]
