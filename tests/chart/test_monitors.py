"""Values of `monitoring` reach every monitor, and what names them follows."""

from typing import Any

from tests.chart.rendering import CHART, Helm, Manifest, pick, render


def endpoints(manifests: list[Manifest]) -> dict[str, Any]:
    """The endpoint of each monitor by the monitor's name."""
    found = {}
    for manifest in manifests:
        if manifest["kind"] in ("ServiceMonitor", "PodMonitor"):
            (found[manifest["metadata"]["name"]],) = (
                manifest["spec"].get("endpoints") or manifest["spec"]["podMetricsEndpoints"]
            )
    return found


def test_timeouts_and_relabelings_are_on_every_monitor(helm: Helm) -> None:
    found = endpoints(render(helm, "production"))
    assert found.keys() == {"fairlead-api", "fairlead-operator", "fairlead-predictors"}
    for name, endpoint in found.items():
        assert endpoint["scrapeTimeout"] == "10s", name
        assert endpoint["relabelings"][-1] == {"targetLabel": "cluster", "replacement": "west"}, name
        assert endpoint["metricRelabelings"][0]["action"] == "drop", name
    own = [one["targetLabel"] for one in found["fairlead-predictors"]["relabelings"]]
    assert own == ["model_deployment", "track", "run", "cluster"], "the chart's own come first"


def test_by_default_prometheus_decides(helm: Helm) -> None:
    found = endpoints(helm.template(CHART, "--set", "monitoring.enabled=true"))
    for endpoint in found.values():
        assert not {"scrapeTimeout", "metricRelabelings"} & endpoint.keys()
    assert "relabelings" not in found["fairlead-api"]


def test_monitors_in_another_namespace_find_the_release_and_are_found_by_its_alerts(helm: Helm) -> None:
    manifests = render(helm, "production")
    kinds = {"ServiceMonitor", "PodMonitor", "PrometheusRule"}
    made = [one for one in manifests if one["kind"] in kinds or "dashboard" in one["metadata"]["name"]]
    assert len(made) == 8
    assert {one["metadata"]["namespace"] for one in made} == {"monitoring"}
    for one in made:
        if one["kind"] == "ServiceMonitor":
            assert one["spec"]["namespaceSelector"] == {"matchNames": ["fairlead"]}
    rules = str(pick(manifests, "PrometheusRule")["spec"])
    assert 'job="monitoring/fairlead-predictors"' in rules, "as prometheus-operator names a PodMonitor's job"
    assert 'job="fairlead-operator",namespace="fairlead"' in rules


def test_in_the_releases_own_namespace_no_selector_is_needed(helm: Helm) -> None:
    for manifest in render(helm, "monitoring"):
        if manifest["kind"] == "ServiceMonitor":
            assert manifest["metadata"]["namespace"] == "fairlead"
            assert "namespaceSelector" not in manifest["spec"]


def test_dashboards_are_in_a_folder(helm: Helm) -> None:
    by_default = helm.template(CHART, "--set", "monitoring.dashboards.enabled=true")
    annotations = pick(by_default, "ConfigMap", "fairlead-dashboard-model")["metadata"]["annotations"]
    assert annotations == {"grafana_folder": "Fairlead"}
