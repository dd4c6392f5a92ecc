"""Jaeger 2 with the configuration that is built into it: everything in one pod, traces in memory. The Service has the
ports of its chart's."""

from tools.localcluster.stack.objects import Object, container, deployment, labels, probe, service

NAME = "jaeger"
PORTS = {"otlp-grpc": 4317, "otlp-http": 4318, "query-http": 16686}
HEALTH_PORT = 13133
MAX_TRACES = "--set=extensions.jaeger_storage.backends.some_storage.memory.max_traces=20000"


def manifests(image: str) -> list[Object]:
    """Deployment and Service."""
    marks = labels(NAME, "all-in-one")
    selector = {key: value for key, value in marks.items() if not key.endswith("part-of")}
    box = container(
        image,
        NAME,
        PORTS,
        ("64Mi", "512Mi"),
        args=[MAX_TRACES],
        env=[{"name": "JAEGER_LISTEN_HOST", "value": "0.0.0.0"}],
        readinessProbe=probe(HEALTH_PORT, "/status"),
        livenessProbe=probe(HEALTH_PORT, "/status", period=10),
    )
    ports = [(name, port, name) for name, port in PORTS.items()]
    return [service(NAME, marks, selector, ports), deployment(marks, selector, box)]
