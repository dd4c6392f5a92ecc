"""What the operator exports is as Prometheus wants it: promtool looks at the real page. And where it sends traces."""

import subprocess
import urllib.request

from fairlead_operator.metrics import PROBLEMS, MetricsServer
from fairlead_operator.store import Store
from tests.chart.promtool import promtool
from tests.chart.rendering import CHART, Helm, containers, environment, pick


def test_names_units_and_help_are_as_prometheus_wants_them() -> None:
    store = Store()
    PROBLEMS.set_function(lambda: store.census.problems)
    server = MetricsServer(0, lambda: None, host="127.0.0.1")
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics") as answer:
            text = answer.read().decode()
    finally:
        server.close()
    lines = text.splitlines(keepends=True)
    ours = "".join(line for line in lines if "fairlead_" in line.split("{")[0])
    assert 'fairlead_rollouts_total{verdict="promoted"} ' in ours, "there from the start, so that the first one counts"
    checked = subprocess.run(
        [promtool(), "check", "metrics"], input=ours, capture_output=True, text=True, timeout=60, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")


def test_its_own_traces_are_sampled_apart_from_the_predictors(helm: Helm) -> None:
    def variables(*options: str) -> dict[str, str]:
        deployment = pick(helm.template(CHART, *options), "Deployment", "fairlead-operator")
        (container,) = containers(deployment["spec"]["template"]["spec"])
        return environment(container)

    assert not [name for name in variables() if name.startswith("OTEL_")]
    settings = ("--set", "tracing.endpoint=http://jaeger:4318", "--set-json", "tracing.sampleRatio=0.05")
    found = variables(*settings)
    assert found["FAIRLEAD_OPERATOR_TRACE_SAMPLE_RATIO"] == "0.05"
    assert {name: value for name, value in found.items() if name.startswith("OTEL_")} == {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://jaeger:4318",
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "1",
    }
    assert variables(*settings, "--set", "tracing.operatorSampleRatio=0")["OTEL_TRACES_SAMPLER_ARG"] == "0"
