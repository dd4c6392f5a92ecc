"""Jaeger: everything in one pod, traces in memory. The Service has the ports of its chart's."""

from tools.localcluster.stack.objects import Object, container, deployment, labels, probe, service

NAME = "jaeger"
PORTS = {"otlp-grpc": 4317, "otlp-http": 4318, "query-http": 16686}
HEALTH_PORT = 14269


def manifests(image: str) -> list[Object]:
    """Deployment and Service."""
    marks = labels(NAME, "all-in-one")
    selector = {key: value for key, value in marks.items() if not key.endswith("part-of")}
    box = container(
        image,
        NAME,
        PORTS,
        ("64Mi", "512Mi"),
        args=["--memory.max-traces=20000"],
        readinessProbe=probe(HEALTH_PORT, "/"),
        livenessProbe=probe(HEALTH_PORT, "/", period=10),
    )
    ports = [(name, port, name) for name, port in PORTS.items()]
    return [service(NAME, marks, selector, ports), deployment(marks, selector, box)]
