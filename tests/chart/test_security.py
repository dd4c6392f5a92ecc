"""What holds for every profile: restricted pods, no tokens, least rights, selectors that never change."""

import pytest
import yaml

from tests.chart.rendering import CHART, PROFILES, ROOT, Helm, Manifest, containers, identity, pick, pods, render

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
    rules = yaml.safe_load((ROOT / "manifests/operator-rules.yaml").read_text())["rules"]
    for manifest in render(helm, profile):
        if manifest["kind"] in ("Role", "ClusterRole"):
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
        names = {one["metadata"]["namespace"] for one in manifests if one["kind"] == kind}
        assert names == {"team-a", "team-a-staging"}
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
        assert pod["imagePullSecrets"] == [{"name": "registry"}], whose
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
