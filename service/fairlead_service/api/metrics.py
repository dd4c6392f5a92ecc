"""`/metrics` for Prometheus and `/metrics/summary` for people."""

from fastapi import APIRouter, Request, Response
from prometheus_client.exposition import choose_encoder

from fairlead_service import contract
from fairlead_service.api.services import Use
from fairlead_service.models.slot import Serving
from fairlead_service.schemas import MetricsSummary, ModelReference

router = APIRouter(tags=["metrics"])


@router.get(
    contract.METRICS_PATH,
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(request: Request, services: Use) -> Response:
    """Prometheus's text format, or OpenMetrics with exemplars (trace ids) where `Accept` asks for it."""
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
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
