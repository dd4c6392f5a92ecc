"""`/metrics` for Prometheus and `/metrics/summary` for people."""

import re
from typing import Final

from fastapi import APIRouter, Request, Response
from prometheus_client.exposition import choose_encoder

from fairlead_service import contract
from fairlead_service.api.services import Use
from fairlead_service.models.slot import Serving
from fairlead_service.schemas import MetricsSummary, ModelReference

OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0"
_OPENMETRICS_TYPE, _TEXT_TYPE = "application/openmetrics-text", "text/plain"
_VERSIONS: Final = ("0.0.1", "1.0.0")
"""That readers of OpenMetrics ask for."""
_WEIGHT: Final = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?", re.ASCII)
router = APIRouter(tags=["metrics"])


@router.get(
    contract.METRICS_PATH,
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(request: Request, services: Use) -> Response:
    """Prometheus's text format, or OpenMetrics with exemplars (trace ids) where `Accept` asks for it."""
    encode, content_type = choose_encoder(OPENMETRICS if wants_openmetrics(request.headers.get("accept", "")) else "")
    return Response(encode(services.metrics.registry), headers={"content-type": content_type})


@router.get("/metrics/summary", summary="The same figures, for people")
async def summary(services: Use) -> MetricsSummary:
    """Counts since the process started. Latencies are estimates from histogram buckets, in milliseconds."""
    serving = services.slot.current
    return MetricsSummary(
        since=services.since,
        uptime_seconds=services.uptime_seconds,
        model=_reference(serving) if serving is not None else None,
        **services.metrics.summary(),
    )


def wants_openmetrics(accept: str) -> bool:
    """Whether a value of `Accept` prefers OpenMetrics 1.0 to Prometheus's text format. What is no media range, asks for
    another version or has a weight that is none is passed over, as RFC 9110 has it for what is not understood."""
    weights = {name: 0.0 for name in (_OPENMETRICS_TYPE, _TEXT_TYPE)}
    for item in accept.split(","):
        name, *parameters = (part.strip().lower() for part in item.split(";"))
        given = dict(parameter.partition("=")[::2] for parameter in parameters)
        right = name == _TEXT_TYPE or given.get("version", '"1.0.0"').strip('"') in _VERSIONS
        if name in weights and right and (weight := _WEIGHT.fullmatch(given.get("q", "1"))):
            weights[name] = max(weights[name], float(weight[0]))
    return 0 < weights[_OPENMETRICS_TYPE] >= weights[_TEXT_TYPE]


def _reference(serving: Serving) -> ModelReference:
    identity = serving.manifest.identity
    return ModelReference(
        run_id=identity.run_id,
        model_name=identity.name,
        model_version=identity.version,
        estimator=serving.manifest.estimator,
        backend=serving.backend.name,
        proof=serving.manifest.proof,
        loaded_at=serving.loaded_at,
    )
