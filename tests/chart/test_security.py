"""What holds for every profile: restricted pods, no tokens, least rights, selectors that never change."""

import pytest
import yaml

from tests.chart.rendering import (
    CHART,
    PROFILES,
    ROOT,
    Helm,
    Manifest,
    containers,
    documents,
    environment,
    identity,
    pick,
    pods,
    render,
)

EXTERNAL = ("--set", "mlflow.external.trackingUri=http://mlflow")
everywhere = pytest.mark.parametrize("profile", PROFILES)


@everywhere
def test_pods_meet_the_restricted_standard(helm: Helm, profile: str) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted, and a read-only root."""
    for whose, pod in pods(render(helm, profile)):
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True, whose
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, whose
        assert security.get("runAsUser", 1) != 0, whose
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys(), whose
        for volume in pod.get("volumes", []):
            assert volume.keys() & {"configMap", "emptyDir", "persistentVolumeClaim", "secret"}, f"{whose}: {volume}"
        for container in containers(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, f"{whose}/{container['name']}"
            assert not any("hostPort" in port for port in container.get("ports", []))


@everywhere
def test_only_the_operator_has_a_token(helm: Helm, profile: str) -> None:
    manifests = render(helm, profile)
    for whose, pod in pods(manifests):
        is_operator = any(container["name"] == "operator" for container in pod["containers"])
        assert pod["automountServiceAccountToken"] is is_operator, whose
        assert pod["enableServiceLinks"] is False, f"{whose}: FAIRLEAD_API_PORT=tcp://… would be read as a setting"
    for manifest in manifests:
        if manifest["kind"] == "ServiceAccount":
            assert manifest["automountServiceAccountToken"] is False, identity(manifest)


@everywhere
def test_rights_are_the_operators_own_rules(helm: Helm, profile: str) -> None:
    """And, in its own namespace, its one Lease: the role of that has no other resource."""
    rules = yaml.safe_load((ROOT / "manifests/operator-rules.yaml").read_text())["rules"]
    for manifest in render(helm, profile):
        name = manifest["metadata"]["name"]
        if manifest["kind"] == "Role" and name.endswith("-lease"):
            assert manifest["metadata"]["namespace"] == "fairlead"
            assert {resource for rule in manifest["rules"] for resource in rule["resources"]} == {"leases"}
            assert all(rule["verbs"] == ["create"] or rule.get("resourceNames") for rule in manifest["rules"])
        elif manifest["kind"] in ("Role", "ClusterRole") and "modeldeployments" not in name:
            assert manifest["rules"] == rules, identity(manifest)


def test_the_rules_are_narrow() -> None:
    for rule in yaml.safe_load((ROOT / "manifests/operator-rules.yaml").read_text())["rules"]:
        assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]], rule
        assert not set(rule["resources"]) & {"secrets", "nodes", "roles", "clusterroles", "pods/exec"}, rule
        assert not set(rule["verbs"]) & {"escalate", "bind", "impersonate", "deletecollection"}, rule


def test_watching_some_namespaces_needs_no_cluster_role(helm: Helm) -> None:
    manifests = render(helm, "namespaced")
    assert not [one for one in manifests if one["kind"].startswith("Cluster")]
    for kind in ("Role", "RoleBinding"):
        found = [one["metadata"] for one in manifests if one["kind"] == kind]
        watching = {one["namespace"] for one in found if not one["name"].endswith("-lease")}
        assert watching == {"team-a", "team-a-staging"}
    for binding in (one for one in manifests if one["kind"] == "RoleBinding"):
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "team-a-operator", "namespace": "fairlead"}]


def _selectors(manifests: list[Manifest]) -> dict[str, object]:
    return {
        identity(one): one["spec"]["selector"]
        for one in manifests
        if one["kind"] in ("Deployment", "Service", "PodDisruptionBudget")
    }


def test_selectors_never_change(helm: Helm) -> None:
    """A Deployment's selector is immutable: a value that changed it would make every upgrade fail."""
    default = _selectors(render(helm, "default"))
    for profile in PROFILES:
        if profile != "namespaced":  # other names are other objects
            for name, selector in _selectors(render(helm, profile)).items():
                assert selector == default.get(name, selector), f"{profile}: {name}"


@everywhere
def test_selectors_find_their_pods_and_no_others(helm: Helm, profile: str) -> None:
    manifests = render(helm, profile)
    labels = {
        identity(one): one["spec"]["template"]["metadata"]["labels"] for one in manifests if one["kind"] == "Deployment"
    }
    labels |= {identity(one): one["metadata"]["labels"] for one in manifests if one["kind"] == "Pod"}
    for manifest in manifests:
        selector = manifest.get("spec", {}).get("selector") or manifest.get("spec", {}).get("podSelector")
        if selector is None or manifest["kind"] in ("Pod", "PodMonitor", "ServiceMonitor"):
            continue
        wanted = selector.get("matchLabels", selector)
        found = [name for name, has in labels.items() if wanted.items() <= has.items()]
        assert len(found) == 1, f"{identity(manifest)} selects {found}"
        assert "helm.sh/chart" not in wanted


def test_a_new_chart_version_restarts_nothing(helm: Helm) -> None:
    for manifest in render(helm, "production"):
        if manifest["kind"] == "Deployment":
            template = manifest["spec"]["template"]["metadata"]
            assert "helm.sh/chart" not in template["labels"]
            assert "app.kubernetes.io/version" not in template["labels"]


def test_common_labels_are_on_everything_and_never_in_selectors(helm: Helm) -> None:
    for manifest in render(helm, "production"):
        assert manifest["metadata"]["labels"]["team"] == "ml-platform", identity(manifest)
        if manifest["kind"] == "Deployment":
            assert manifest["spec"]["template"]["metadata"]["labels"]["team"] == "ml-platform"
        assert "team" not in str(manifest.get("spec", {}).get("selector", ""))


def test_network_policies_let_in_who_needs_it(helm: Helm) -> None:
    manifests = render(helm, "production")
    policy = pick(manifests, "NetworkPolicy", "fairlead-mlflow")
    (rule,) = policy["spec"]["ingress"]
    own = [peer["podSelector"]["matchLabels"] for peer in rule["from"] if "podSelector" in peer]
    assert {peer.get("app.kubernetes.io/component") for peer in own} == {"api", "operator", "test", "predictor"}
    assert rule["from"][-1] == {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "notebooks"}}}
    predictors = next(peer for peer in rule["from"] if "predictor" in str(peer))
    assert predictors["namespaceSelector"] == {}
    api = pick(manifests, "NetworkPolicy", "fairlead-api")["spec"]["ingress"][0]["from"]
    assert [next(iter(peer)) for peer in api] == ["namespaceSelector", "podSelector"]
    assert "test" in str(api[1]), "helm test must get through"


def test_openshift_chooses_the_ids(helm: Helm) -> None:
    for whose, pod in pods(render(helm, "openshift")):
        assert not {"runAsUser", "runAsGroup", "fsGroup"} & pod["securityContext"].keys(), whose


def test_images_come_by_policy_and_reference(helm: Helm) -> None:
    for whose, pod in pods(render(helm, "production")):
        assert pod["imagePullSecrets"] == [{"name": "registry"}, {"name": "mirror"}], whose
    images = {
        container["name"]: container["image"]
        for _, pod in pods(render(helm, "production"))
        for container in containers(pod)
    }
    assert images["api"] == images["test"] == f"registry.example.org/fairlead-dev/fairlead-service@sha256:{'2' * 64}"
    assert images["mlflow"] == images["upgrade-database"] == "ghcr.io/mlflow/mlflow:v3.17.2-full"
    local = helm.template(CHART, "--set", "service.image.registry=,service.image.repository=x,service.image.tag=dev")
    assert pick(local, "Deployment", "fairlead-api")["spec"]["template"]["spec"]["containers"][0]["image"] == "x:dev"
    assert all(
        container["imagePullPolicy"] == "IfNotPresent" for _, pod in pods(local) for container in containers(pod)
    )


def test_production_refuses_what_anybody_could_use(helm: Helm) -> None:
    done = helm.refused(CHART, "--set", "production=true,mlflow.persistence.enabled=false")
    assert done.returncode != 0
    wanted = (
        "api.auth.secretName", "api.tls.secretName", "operator.loadKey", "networkPolicy.enabled",
        "mlflow.persistence.enabled",
    )  # fmt: skip
    for value in wanted:
        assert f"- {value}" in done.stderr
    without = ("--values", str(CHART / "values-production.yaml"), "--set", "api.auth.secretName=")
    assert "- api.auth.secretName" in helm.refused(CHART, *without).stderr


@pytest.mark.parametrize("none", ["", "null"])
def test_production_takes_plain_http_only_where_tls_is_said_to_end_elsewhere(helm: Helm, none: str) -> None:
    plain = ("--values", str(CHART / "values-production.yaml"), "--set", f"api.tls.secretName={none}")
    said = helm.refused(CHART, *plain).stderr
    assert "- api.tls.secretName, or api.tls.terminatedElsewhere=true where an ingress" in said
    assert "- api.auth" not in said
    manifests = helm.template(CHART, *plain, "--set", "api.tls.terminatedElsewhere=true")
    assert [port["name"] for port in pick(manifests, "Service", "fairlead-api")["spec"]["ports"]] == ["http"]
    helm.template(CHART, *plain, "--set", "api.enabled=false")


def test_the_values_for_production_are_enough(helm: Helm) -> None:
    manifests = helm.template(CHART, "--values", str(CHART / "values-production.yaml"))
    kinds = [manifest["kind"] for manifest in manifests]
    assert kinds.count("NetworkPolicy") == 4
    by_provider = ("--set", "api.auth.secretName=,api.auth.oidc.issuer=https://sso,api.auth.oidc.audience=a")
    assert helm.template(CHART, "--values", str(CHART / "values-production.yaml"), *by_provider)


def allowed(helm: Helm, component: str, *options: str) -> set[int]:
    """Ports that a component may connect to, but those of names."""
    on = ("--set", "networkPolicy.enabled=true,networkPolicy.egress.enabled=true")
    policy = pick(helm.template(CHART, *on, *options), "NetworkPolicy", f"fairlead-{component}")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    (rule,) = policy["egress"]
    return {entry["port"] for entry in rule["ports"]} - {53, 1053}


def test_pods_connect_only_where_they_must(helm: Helm) -> None:
    assert allowed(helm, "api") == {5000}
    assert allowed(helm, "operator") == {443, 6443, 5000, 8000, 8443}
    assert allowed(helm, "mlflow") == set(), "SQLite and a directory"
    assert allowed(helm, "mlflow", "--set", "mlflow.artifactsDestination=gs://models") == {443}
    assert allowed(helm, "mlflow", "--set", "mlflow.backendStore.existingSecret.name=db") == {5432}
    external = ("--set", "mlflow.enabled=false,mlflow.external.trackingUri=https://mlflow.example.org")
    cache = ("--set", "cache.url=rediss://redis.cache:6380/0,tracing.endpoint=http://jaeger:4318")
    oidc = ("--set", "api.auth.oidc.issuer=https://sso:8443/realms/ml,api.auth.oidc.audience=a")
    assert allowed(helm, "api", *external, *cache, *oidc) == {443, 6380, 4318, 8443}
    assert allowed(helm, "operator", "--set", "operator.prometheus.url=http://prometheus:9090") >= {9090}
    store = (
        "--set",
        "mlflow.image.tag=v3.17.2-full,mlflow.backendStore.postgresql.host=db,mlflow.backendStore.postgresql.port=6432",
    )
    assert 6432 in allowed(helm, "mlflow", *store, "--set", "mlflow.backendStore.postgresql.existingSecret.name=db")
    assert 7777 in allowed(helm, "api", "--set", "networkPolicy.egress.ports={7777}")


@pytest.mark.parametrize(
    ("uri", "ports"),
    [
        ("mysql+pymysql://u@db/mlflow", {3306}),
        ("mysql://u@[2001:db8::1]/mlflow", {3306}),
        ("postgresql://u@db/mlflow?application_name=a:1", {5432}),
        ("postgresql+psycopg2://u@db/mlflow", {5432}),
        ("postgresql://one:5433,two:5434/mlflow", {5433, 5434}),
        ("mssql+pyodbc://u@db/mlflow", {1433}),
        ("cockroachdb://u@db:26257/mlflow", {26257}),
        ("sqlite:////mlflow/mlflow.db", set()),
    ],
)
def test_the_port_of_a_database_is_its_urls_or_its_kinds(helm: Helm, uri: str, ports: set[int]) -> None:
    assert allowed(helm, "mlflow", "--set-literal", f"mlflow.backendStore.uri={uri}") == ports


@pytest.mark.parametrize(
    ("url", "port"), [("redis://r", 6379), ("rediss://u@r/0", 6379), ("rediss://[2001:db8::1]:6380", 6380)]
)
def test_the_port_of_a_cache_is_its_urls_or_6379(helm: Helm, url: str, port: int) -> None:
    assert allowed(helm, "api", "--set-literal", f"cache.url={url}") == {5000, port}


@pytest.mark.parametrize(("url", "port"), [("http://c", 80), ("https://c/v1", 443), ("http://c:4318", 4318)])
def test_the_port_of_a_collector_is_its_urls_or_its_schemes(helm: Helm, url: str, port: int) -> None:
    assert allowed(helm, "api", "--set", f"tracing.endpoint={url}") == {5000, port}


def test_a_port_that_nobody_knows_is_asked_for(helm: Helm) -> None:
    on = "networkPolicy.enabled=true,networkPolicy.egress.enabled=true"
    done = helm.refused(CHART, "--set", on, "--set", "mlflow.backendStore.uri=cockroachdb://secret@db/mlflow")
    assert "no port is known for cockroachdb://, the scheme of mlflow.backendStore.uri" in done.stderr
    assert "write the port into that URL (cockroachdb://HOST:PORT/…)" in done.stderr
    assert "secret" not in done.stderr
    assert helm.template(CHART, "--set", "mlflow.backendStore.uri=cockroachdb://secret@db/mlflow")


def test_the_test_reaches_what_it_asks_and_nobody_reaches_it(helm: Helm) -> None:
    assert allowed(helm, "test") == {5000, 8000}
    assert allowed(helm, "test", "--set", "api.tls.secretName=t,mlflow.enabled=false", *EXTERNAL) == {8000, 8443}
    policy = pick(render(helm, "production"), "NetworkPolicy", "fairlead-test")
    assert policy["spec"]["ingress"] == []
    off = helm.template(CHART, "--set", "networkPolicy.enabled=true,tests.enabled=false")
    assert not [one for one in off if one["metadata"]["name"] == "fairlead-test"]


def test_the_job_that_moves_mlflow_is_as_restricted(helm: Helm) -> None:
    job, policy = documents(ROOT / "manifests/mlflow-migration.yaml")
    template = job["spec"]["template"]
    assert policy["spec"]["podSelector"]["matchLabels"] == template["metadata"]["labels"]
    assert not any(key.endswith("component") for key in template["metadata"]["labels"]), "or MLflow's Service has it"
    assert template["spec"]["securityContext"]["runAsNonRoot"] is True
    (database,) = template["spec"]["containers"]
    out = {entry["port"] for entry in policy["spec"]["egress"][0]["ports"]}
    assert int(environment(database)["PGPORT"]) in out
    for container in containers(template["spec"]):
        assert container["resources"].keys() == {"requests", "limits"}


def test_without_egress_policies_nothing_is_bound_outwards(helm: Helm) -> None:
    policy = pick(helm.template(CHART, "--set", "networkPolicy.enabled=true"), "NetworkPolicy", "fairlead-api")
    assert policy["spec"]["policyTypes"] == ["Ingress"]
    assert "egress" not in policy["spec"]
