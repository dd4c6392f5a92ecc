"""Values that contradict each other are refused; right ones end up where they should."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from fairlead_operator.api import OWNER_LABEL, TRACK_LABEL, ModelDeployment
from fairlead_operator.desired import naming, signals
from fairlead_operator.settings import Settings as OperatorSettings
from fairlead_operator.webhook import PATH as WEBHOOK_PATH
from fairlead_service import contract as service_contract
from fairlead_service.settings import Settings as ServiceSettings
from tests.chart.rendering import CHART, PROFILES, STACK, Helm, environment, pick, render
from tools import sync


def test_no_mlflow_at_all_is_an_error_that_says_what_to_set(helm: Helm) -> None:
    done = helm.refused(CHART, "--set", "mlflow.enabled=false")
    assert "mlflow.external.trackingUri must name the MLflow server" in done.stderr


def test_a_variable_given_twice_is_an_error(helm: Helm) -> None:
    twice = "api.extraEnv[0].name=A,api.extraEnv[1].name=A"
    assert "api.extraEnv: A appears twice" in helm.refused(CHART, "--set", twice).stderr


def test_a_limit_of_requests_in_flight_is_set_only_if_it_is_given(helm: Helm) -> None:
    def limit(*options: str) -> str | None:
        api = pick(helm.template(CHART, *options), "Deployment", "fairlead-api")
        return environment(api["spec"]["template"]["spec"]["containers"][0]).get("FAIRLEAD_MAX_IN_FLIGHT")

    assert limit() is None
    assert limit("--set", "api.maxInFlightRequests=2000000") == "2000000"


def test_an_old_kubernetes_is_refused(helm: Helm) -> None:
    done = helm.run("template", "fairlead", str(CHART), "--kube-version", "1.31.0")
    assert "requires kubeVersion" in done.stderr


def _leaves(schema: dict[str, Any], values: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Paths of values.yaml that the schema describes as objects of fixed keys, down to the first free-form one."""
    for key, value in values.items():
        here = (*path, key)
        inner = _resolve(schema, here)
        if isinstance(value, dict) and inner.get("additionalProperties") is False:
            yield from _leaves(schema, value, here)
        else:
            yield here


def _resolve(schema: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    found = schema
    for key in path:
        assert key in found["properties"], f"{'.'.join(path)} is not in values.schema.json"
        found = found["properties"][key]
        if "$ref" in found:
            found = schema["$defs"][found["$ref"].rsplit("/", 1)[1]]
    return found


def test_schema_values_and_readme_know_the_same_keys() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    text = (CHART / "values.yaml").read_text()
    leaves = {
        ".".join(path) for path in _leaves(schema, yaml.safe_load(text)) if path[-1] not in ("requests", "limits")
    }
    described = {value.key for value in sync.described_values(text)}
    whole = {key.rpartition(".")[0] for key in described}
    assert {leaf for leaf in leaves if leaf not in described} <= {"operator.resources", "api.resources"} | whole
    assert not {key for key in described if not _resolve(schema, tuple(key.split(".")))}


@pytest.mark.parametrize("chart", [CHART, STACK], ids=lambda path: path.name)
def test_objects_of_fixed_keys_allow_no_others(chart: Any) -> None:
    def check(part: Any) -> None:
        if isinstance(part, dict):
            if "properties" in part and part.get("description", "").find("its own chart") < 0:
                assert part.get("additionalProperties") is False, part
            for inner in part.values():
                check(inner)

    schema = json.loads((chart / "values.schema.json").read_text())
    del schema["properties"]["global"]  # has keys of parent charts, too
    check(schema)


def test_replicas_can_be_left_to_an_autoscaler(helm: Helm) -> None:
    assert "replicas" not in pick(render(helm, "production"), "Deployment", "fairlead-api")["spec"]
    assert pick(render(helm, "default"), "Deployment", "fairlead-api")["spec"]["replicas"] == 1


def test_a_users_variable_replaces_the_charts(helm: Helm) -> None:
    container = pick(render(helm, "production"), "Deployment", "fairlead-api")["spec"]["template"]["spec"][
        "containers"
    ][0]
    names = [entry["name"] for entry in container["env"]]
    assert environment(container)["HOME"] == "/data"
    assert len(set(names)) == len(names), "server-side apply refuses a name that appears twice"


def test_a_volume_of_one_writer_is_never_shared_during_an_update(helm: Helm) -> None:
    deployment = pick(helm.template(CHART, "--set", "api.persistence.enabled=true"), "Deployment", "fairlead-api")
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}
    assert pick(render(helm, "default"), "Deployment", "fairlead-mlflow")["spec"]["strategy"] == {"type": "Recreate"}
    assert "strategy" not in pick(render(helm, "default"), "Deployment", "fairlead-operator")["spec"]


LOADERS = {
    value.removeprefix("FAIRLEAD_").lower()
    for name, value in vars(service_contract).items()
    if name.startswith("ENV_CACHE_")
}
"""What the API hands on to the loaders that it starts."""


@pytest.mark.parametrize("profile", PROFILES)
def test_both_programs_understand_what_they_are_given(
    helm: Helm, profile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable nobody reads is a setting that silently does nothing."""
    for component, settings, prefix in (
        ("api", ServiceSettings, "FAIRLEAD_"),
        ("operator", OperatorSettings, "FAIRLEAD_OPERATOR_"),
    ):
        name = f"{'team-a' if profile == 'namespaced' else 'fairlead'}-{component}"
        deployments = [one for one in render(helm, profile) if one["kind"] == "Deployment"]
        for deployment in (one for one in deployments if one["metadata"]["name"] == name):
            (container,) = deployment["spec"]["template"]["spec"]["containers"]
            names = {entry["name"] for entry in container["env"]}
            ours = {one.removeprefix(prefix).lower() for one in names if one.startswith(prefix)}
            assert ours - LOADERS <= settings.model_fields.keys()
            with monkeypatch.context() as patch:
                for variable, value in environment(container).items():
                    patch.setenv(variable, value)
                settings()


def test_settings_reach_the_operator(helm: Helm) -> None:
    (container,) = pick(render(helm, "external-mlflow"), "Deployment", "fairlead-operator")["spec"]["template"]["spec"][
        "containers"
    ]
    given = environment(container)
    assert given["FAIRLEAD_OPERATOR_EGRESS_PORTS"] == "443"
    assert given["FAIRLEAD_OPERATOR_LOG_LEVEL"] == "WARNING"
    assert given["FAIRLEAD_OPERATOR_MLFLOW_CREDENTIALS_SECRET"] == "mlflow-credentials"
    token = next(one for one in container["env"] if one["name"] == "FAIRLEAD_OPERATOR_MLFLOW_TOKEN")
    secret = {"name": "mlflow-credentials", "key": "MLFLOW_TRACKING_TOKEN", "optional": True}
    assert token["valueFrom"] == {"secretKeyRef": secret}
    (container,) = pick(render(helm, "production"), "Deployment", "fairlead-operator")["spec"]["template"]["spec"][
        "containers"
    ]
    assert environment(container)["FAIRLEAD_OPERATOR_EGRESS_PORTS"] == "5000", (
        "MLflow's pod port behind Service port 80"
    )


def test_the_load_key_stays_in_its_secret(helm: Helm) -> None:
    def given(profile: str) -> list[Any]:
        pod = pick(render(helm, profile), "Deployment", "fairlead-operator")["spec"]["template"]["spec"]
        return [one for one in pod["containers"][0]["env"] if one["name"] == "FAIRLEAD_OPERATOR_LOAD_KEY"]

    (key,) = given("production")
    assert key["valueFrom"] == {"secretKeyRef": {"name": "fairlead-load-key", "key": "key"}}, "which must be there"
    assert given("default") == []


def test_where_prometheus_is_and_how_alerts_are_labelled_reach_the_operator(helm: Helm) -> None:
    pod = pick(render(helm, "monitoring"), "Deployment", "fairlead-operator")["spec"]["template"]["spec"]
    given = environment(pod["containers"][0])
    assert given["FAIRLEAD_OPERATOR_PROMETHEUS_URL"] == (
        "http://monitoring-kube-prometheus-prometheus.monitoring.svc:9090"
    )
    assert given["FAIRLEAD_OPERATOR_AUTOSCALING_ENGINE"] == "KEDA"
    assert given["FAIRLEAD_OPERATOR_MONITORING_LABELS"] == "release=monitoring"


def test_ports_and_probes_are_the_programs_own(helm: Helm) -> None:
    manifests = render(helm, "default")
    (api,) = pick(manifests, "Deployment", "fairlead-api")["spec"]["template"]["spec"]["containers"]
    assert api["ports"] == [{"name": "http", "containerPort": service_contract.HTTP_PORT}]
    assert tuple(api["command"]) == service_contract.SERVER_COMMAND
    assert api["readinessProbe"]["httpGet"] == {"path": service_contract.READY_PATH, "port": "http"}
    assert api["livenessProbe"]["httpGet"] == {"path": service_contract.LIVE_PATH, "port": "http"}
    (operator,) = pick(manifests, "Deployment", "fairlead-operator")["spec"]["template"]["spec"]["containers"]
    assert operator["ports"][0]["containerPort"] == OperatorSettings.model_fields["metrics_port"].default


def test_webhooks_are_off_until_there_is_a_secret(helm: Helm) -> None:
    (operator,) = pick(render(helm, "default"), "Deployment", "fairlead-operator")["spec"]["template"]["spec"][
        "containers"
    ]
    assert not [entry for entry in operator["env"] if "WEBHOOK" in entry["name"]]
    assert [port["name"] for port in operator["ports"]] == ["metrics"]
    done = helm.refused(CHART, "--set", "operator.webhook.enabled=true")
    assert "operator.webhook.secret.name must name the Secret" in done.stderr


def test_webhooks_reach_the_operator_from_mlflow_with_one_secret(helm: Helm) -> None:
    manifests = render(helm, "production")
    (operator,) = pick(manifests, "Deployment", "fairlead-operator")["spec"]["template"]["spec"]["containers"]
    (mlflow,) = pick(manifests, "Deployment", "fairlead-mlflow")["spec"]["template"]["spec"]["containers"]
    given = {entry["name"]: entry.get("valueFrom") for entry in [*operator["env"], *mlflow["env"]]}
    assert given["FAIRLEAD_OPERATOR_WEBHOOK_SECRET"] == {"secretKeyRef": {"name": "webhook", "key": "secret"}}
    encryption = {"secretKeyRef": {"name": "webhook", "key": "encryption-key"}}
    assert given["MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY"] == encryption
    assert environment(mlflow)["MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS"] == "true"
    assert environment(mlflow)["MLFLOW_WEBHOOK_ALLOWED_SCHEMES"] == "http,https"
    port = {"name": "webhook", "containerPort": OperatorSettings.model_fields["webhook_port"].default}
    assert port in operator["ports"]
    service = pick(manifests, "Service", "fairlead-operator")["spec"]["ports"]
    assert {"name": "webhook", "port": port["containerPort"], "targetPort": "webhook"} in service
    policy = pick(manifests, "NetworkPolicy", "fairlead-operator")["spec"]["ingress"]
    (rule,) = [rule for rule in policy if rule["ports"] == [{"port": "webhook"}]]
    labels = pick(manifests, "Deployment", "fairlead-mlflow")["spec"]["selector"]["matchLabels"]
    assert rule["from"] == [{"podSelector": {"matchLabels": labels}}]
    assert f"http://fairlead-operator.fairlead.svc:{port['containerPort']}{WEBHOOK_PATH}" in notes(
        helm, "--values", str(CHART / "ci/production-values.yaml")
    )


def test_webhooks_of_somebody_elses_mlflow_come_from_whom_one_says(helm: Helm) -> None:
    external = ["--values", str(PROFILES["external-mlflow"]), "--set", "networkPolicy.enabled=true"]
    external += ["--set", "operator.webhook.enabled=true,operator.webhook.secret.name=webhook"]
    peers = "networkPolicy.webhookFrom[0].ipBlock.cidr=192.0.2.0/24"
    policy = pick(helm.template(CHART, *external, "--set", peers), "NetworkPolicy", "fairlead-operator")
    (rule,) = [rule for rule in policy["spec"]["ingress"] if rule["ports"] == [{"port": "webhook"}]]
    assert rule["from"] == [{"ipBlock": {"cidr": "192.0.2.0/24"}}]


def test_the_api_may_finish_what_it_does(helm: Helm) -> None:
    pod = pick(render(helm, "default"), "Deployment", "fairlead-api")["spec"]["template"]["spec"]
    fields = ServiceSettings.model_fields
    assert pod["terminationGracePeriodSeconds"] > fields["drain_seconds"].default + fields["shutdown_seconds"].default


def test_predictors_are_found_by_the_labels_the_operator_gives(helm: Helm) -> None:
    resource = ModelDeployment.model_validate(
        {
            "metadata": {"name": "fraud", "namespace": "models", "uid": "1", "generation": 1},
            "spec": {"model": {"uri": "models:/fraud/1"}},
        }
    )
    labels = naming.labels(resource)
    monitor = pick(render(helm, "monitoring"), "PodMonitor")["spec"]
    assert monitor["selector"]["matchLabels"].items() <= labels.items()
    (endpoint,) = monitor["podMetricsEndpoints"]
    assert endpoint["path"] == service_contract.METRICS_PATH
    relabelings = {found["targetLabel"]: found["sourceLabels"] for found in endpoint["relabelings"]}
    for name, label in (("model_deployment", OWNER_LABEL), ("track", TRACK_LABEL)):
        meta = re.sub(r"[^a-zA-Z0-9_]", "_", label)
        assert relabelings[name] == [f"__meta_kubernetes_pod_label_{meta}"]
    assert 'track!="candidate"' in signals.in_flight(resource, 60)
    policy = pick(render(helm, "production"), "NetworkPolicy", "fairlead-mlflow")
    peers = [
        peer["podSelector"]["matchLabels"] for peer in policy["spec"]["ingress"][0]["from"] if "podSelector" in peer
    ]
    assert any(peer.items() <= labels.items() for peer in peers)


def test_everyone_talks_to_the_same_mlflow(helm: Helm) -> None:
    for profile, uri in (
        ("default", "http://fairlead-mlflow.fairlead.svc:5000"),
        ("production", "http://fairlead-mlflow.fairlead.svc:80"),
        ("external-mlflow", "https://mlflow.example.org"),
    ):
        manifests = render(helm, profile)
        for component, variable in (
            ("api", "MLFLOW_TRACKING_URI"),
            ("operator", "FAIRLEAD_OPERATOR_MLFLOW_TRACKING_URI"),
        ):
            pod = pick(manifests, "Deployment", f"fairlead-{component}")["spec"]["template"]["spec"]
            assert environment(pod["containers"][0])[variable] == uri


@pytest.mark.parametrize(("release", "fullname"), [("fairlead", "fairlead"), ("prod", "prod-fairlead")])
def test_names_follow_the_release(helm: Helm, release: str, fullname: str) -> None:
    manifests = helm.template(CHART, release=release)
    assert pick(manifests, "Service", f"{fullname}-api")["spec"]["ports"][0]["port"] == 8000
    pick(manifests, "Service", f"{fullname}-mlflow")


def test_names_stay_legal_for_the_longest_release_name(helm: Helm) -> None:
    manifests = helm.template(CHART, "--set", "monitoring.dashboards.enabled=true", release="r" * 53)
    assert all(len(manifest["metadata"]["name"]) <= 63 for manifest in manifests)


def test_nothing_secret_is_rendered(helm: Helm) -> None:
    mlflow = pick(render(helm, "production"), "Deployment", "fairlead-mlflow")["spec"]["template"]["spec"]
    uri = next(entry for entry in mlflow["containers"][0]["env"] if entry["name"] == "MLFLOW_BACKEND_STORE_URI")
    assert uri == {
        "name": "MLFLOW_BACKEND_STORE_URI",
        "valueFrom": {"secretKeyRef": {"name": "mlflow-database", "key": "uri"}},
    }
    assert not [one for one in render(helm, "production") if one["kind"] == "Secret"]


def notes(helm: Helm, *options: str) -> str:
    """What an installation prints last. A client-side dry run needs no cluster, with Helm 4."""
    done = helm.run("install", "fairlead", str(CHART), "--namespace", "fairlead", "--dry-run=client", *options)
    assert done.returncode == 0, done.stderr
    return done.stdout.partition("NOTES:")[2]


def test_notes_end_with_commands_that_fit(helm: Helm) -> None:
    default = notes(helm)
    assert "kubectl --namespace fairlead port-forward service/fairlead-api 8000:8000" in default
    sample = yaml.safe_load(default.partition("<<EOF\n")[2].partition("\nEOF\n")[0])
    assert sample["kind"] == "ModelDeployment"
    namespaced = notes(helm, "--values", str(CHART / "ci/namespaced-values.yaml"))
    assert "service/team-a-api" in namespaced
    assert "namespace: team-a}" in namespaced
    assert "WARNING: mlflow.persistence.enabled is false" in namespaced
    outside = ("--values", str(CHART / "ci/mlflow-storage-values.yaml"), "--set", "mlflow.persistence.enabled=false")
    assert "WARNING" not in notes(helm, *outside)
    assert "port-forward" not in notes(helm, "--values", str(CHART / "ci/everything-off-values.yaml"))


def test_api_and_operator_share_a_cache(helm: Helm) -> None:
    manifests = render(helm, "production")
    api, operator = (
        {
            v["name"]: v
            for v in pick(manifests, "Deployment", f"fairlead-{name}")["spec"]["template"]["spec"]["containers"][0][
                "env"
            ]
        }
        for name in ("api", "operator")
    )
    url = "rediss://redis.cache.svc:6380/0"
    assert (api["FAIRLEAD_CACHE_URL"]["value"], operator["FAIRLEAD_OPERATOR_CACHE_URL"]["value"]) == (url, url)
    assert (api["FAIRLEAD_CACHE_SIGNED"]["value"], operator["FAIRLEAD_OPERATOR_CACHE_SIGNED"]["value"]) == (
        "true",
        "true",
    )
    assert api["FAIRLEAD_CACHE_PASSWORD"]["valueFrom"]["secretKeyRef"]["name"] == "fairlead-cache"
    assert operator["FAIRLEAD_OPERATOR_CACHE_SECRET"]["value"] == "fairlead-cache"
    helm.template(CHART, "--set", "cache.url=redis://r")
    assert "must name the Secret" in helm.refused(CHART, "--set", "cache.url=redis://r,cache.signed=true").stderr
    assert helm.refused(CHART, "--set", "cache.url=redis://u:password@r").returncode != 0


def test_the_api_asks_for_keys_that_are_in_a_secret(helm: Helm) -> None:
    pod = pick(render(helm, "production"), "Deployment", "fairlead-api")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    path = environment(container)["FAIRLEAD_API_KEYS_FILE"]
    (mount,) = [mount for mount in container["volumeMounts"] if path == f"{mount['mountPath']}/keys.json"]
    assert mount["readOnly"]
    assert "subPath" not in mount  # such a mount never changes
    assert {"name": mount["name"], "secret": {"secretName": "fairlead-api-keys"}} in pod["volumes"]
    plain = pick(render(helm, "default"), "Deployment", "fairlead-api")["spec"]["template"]["spec"]["containers"][0]
    assert "FAIRLEAD_API_KEYS_FILE" not in environment(plain)


def test_the_api_is_told_its_provider_and_certificates(helm: Helm) -> None:
    files = {"tls": "fairlead-api-tls", "client-ca": "fairlead-clients", "keys": "fairlead-api-keys"}
    deployment = pick(render(helm, "production"), "Deployment", "fairlead-api")
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    env = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert json.loads(env["FAIRLEAD_OIDC_ROLES"]) == {"data-science": ["train", "predict"], "platform": ["admin"]}
    for name in ("FAIRLEAD_TLS_CERT_FILE", "FAIRLEAD_TLS_CLIENT_CA_FILE", "FAIRLEAD_API_KEYS_FILE"):
        (mount,) = [found for found in container["volumeMounts"] if env[name].startswith(found["mountPath"] + "/")]
        (volume,) = [found for found in pod["volumes"] if found["name"] == mount["name"]]
        assert volume["secret"]["secretName"] == files[mount["name"]]
    assert [port["name"] for port in container["ports"]] == ["http", "https"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ("api.auth.oidc.issuer=https://a", "api.auth.oidc.audience must say"),
        ("api.auth.oidc.audience=a", "api.auth.oidc.issuer must name"),
        ("api.auth.oidc.issuer=http://a,api.auth.oidc.audience=a", "api.auth.oidc.issuer is"),
        ("api.tls.clientCASecretName=a", "needs api.tls.secretName"),
        ("operator.predictorTLS.clientCertificate=true", "needs operator.predictorTLS.secretName"),
    ],
)
def test_half_of_an_access_is_refused(helm: Helm, values: str, said: str) -> None:
    assert said in helm.refused(CHART, "--set", values).stderr
