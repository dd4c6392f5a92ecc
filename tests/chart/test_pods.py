"""Values for all pods reach every pod: registry, pull secrets, volumes, labels, placement, authorities."""

from pathlib import Path

import pytest
import yaml

from tests.chart.rendering import CHART, PROFILES, Helm, Manifest, containers, environment, pick, pods, render

COMPONENTS = ("operator", "api", "mlflow")


def template(manifests: list[Manifest], component: str) -> Manifest:
    found: Manifest = pick(manifests, "Deployment", f"fairlead-{component}")["spec"]["template"]
    return found


def images(manifests: list[Manifest]) -> dict[str, str]:
    """Image per container, and that of predictors, which the operator is given."""
    found = {f"{whose} {one['name']}": one["image"] for whose, pod in pods(manifests) for one in containers(pod)}
    operator = template(manifests, "operator")["spec"]["containers"][0]
    return found | {"predictor": environment(operator)["FAIRLEAD_OPERATOR_PREDICTOR_IMAGE"]}


def test_one_registry_replaces_that_of_every_image(helm: Helm) -> None:
    upgrade = ("--set", "mlflow.upgradeDatabase=true")
    own = images(helm.template(CHART, *upgrade))
    assert len(own) == 6
    mirror = images(helm.template(CHART, *upgrade, "--set", "global.imageRegistry=mirror.example:5000/ghcr"))
    assert mirror == {whose: image.replace("ghcr.io/", "mirror.example:5000/ghcr/") for whose, image in own.items()}
    refused = helm.refused(CHART, "--set", "global.imageRegistry=https://mirror.example/")
    assert "global.imageRegistry is" in refused.stderr


def test_pull_secrets_of_both_kinds_reach_every_pod(helm: Helm, tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    file.write_text("global: {imagePullSecrets: [a, {name: b}, {name: c}]}\nimagePullSecrets: [{name: c}]\n")
    manifests = helm.template(CHART, "--values", str(file))
    assert len(list(pods(manifests))) == 4
    for whose, pod in pods(manifests):
        assert pod["imagePullSecrets"] == [{"name": "c"}, {"name": "a"}, {"name": "b"}], whose
    assert not any("imagePullSecrets" in pod for _, pod in pods(render(helm, "default")))


def test_the_chart_as_a_part_of_another_takes_its_globals(helm: Helm, tmp_path: Path) -> None:
    parent = tmp_path / "platform"
    (parent / "charts").mkdir(parents=True)
    (parent / "charts/fairlead").symlink_to(CHART)
    (parent / "Chart.yaml").write_text("{apiVersion: v2, name: platform, version: 1.0.0}")
    (parent / "values.yaml").write_text("global: {imageRegistry: mirror.example, site: west}")
    assert {image.partition("/")[0] for image in images(helm.template(parent)).values()} == {"mirror.example"}


@pytest.mark.parametrize("component", COMPONENTS)
def test_volumes_labels_and_spread_reach_a_component(helm: Helm, tmp_path: Path, component: str) -> None:
    spread = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}
    own = {"matchLabels": {"mine": "yes"}}
    values = {
        "extraVolumes": [{"name": "plugins", "configMap": {"name": "plugins"}}],
        "extraVolumeMounts": [{"name": "plugins", "mountPath": "/plugins"}],
        "podLabels": {"team": "ml", "app.kubernetes.io/component": "other"},
        "topologySpreadConstraints": [spread, spread | {"labelSelector": own}],
    }
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump({component: values, "mlflow": values | {"upgradeDatabase": True}}))
    manifests = helm.template(CHART, "--values", str(file))
    made = template(manifests, component)
    assert values["extraVolumes"][0] in made["spec"]["volumes"]
    for container in containers(made["spec"]):
        assert values["extraVolumeMounts"][0] in container["volumeMounts"]
    assert made["metadata"]["labels"]["team"] == "ml"
    selector = pick(manifests, "Deployment", f"fairlead-{component}")["spec"]["selector"]
    assert selector["matchLabels"].items() <= made["metadata"]["labels"].items(), "which no value replaces"
    assert made["spec"]["topologySpreadConstraints"] == [
        spread | {"labelSelector": selector},
        spread | {"labelSelector": own},
    ]


def test_services_have_labels_of_their_own(helm: Helm) -> None:
    service = pick(render(helm, "production"), "Service", "fairlead-api")
    assert service["metadata"]["labels"]["example.org/exposed"] == "true"
    same = helm.template(CHART, "--set-string", "mlflow.service.labels.app\\.kubernetes\\.io/component=x")
    assert pick(same, "Service", "fairlead-mlflow")["metadata"]["labels"]["app.kubernetes.io/component"] == "mlflow"


def test_more_objects_are_rendered_as_templates(helm: Helm, tmp_path: Path) -> None:
    assert pick(render(helm, "production"), "ConfigMap", "fairlead-plugins")["metadata"]["namespace"] == "fairlead"
    file = tmp_path / "values.yaml"
    text = "extraObjects:\n- |\n  apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: '{{ .Release.Name }}-text'}\n"
    file.write_text(text)
    assert pick(helm.template(CHART, "--values", str(file)), "ConfigMap", "fairlead-text")


EXTERNAL = ("--set", "mlflow.enabled=false,mlflow.external.trackingUri=https://mlflow.example.org")


@pytest.mark.parametrize(
    ("value", "volume", "variable"),
    [
        ("caConfigMap", {"configMap": {"name": "corporate"}}, "FAIRLEAD_OPERATOR_MLFLOW_CA_CONFIGMAP"),
        ("caSecret", {"secret": {"secretName": "corporate"}}, "FAIRLEAD_OPERATOR_MLFLOW_CA_SECRET"),
    ],
)
def test_authorities_of_an_external_mlflow_reach_api_operator_and_loaders(
    helm: Helm, value: str, volume: Manifest, variable: str
) -> None:
    manifests = helm.template(CHART, *EXTERNAL, "--set", f"mlflow.external.{value}=corporate")
    for component, path in (
        ("api", "MLFLOW_TRACKING_SERVER_CERT_PATH"),
        ("operator", "FAIRLEAD_OPERATOR_MLFLOW_CA_FILE"),
    ):
        pod = template(manifests, component)["spec"]
        (container,) = pod["containers"]
        (mount,) = [one for one in container["volumeMounts"] if one["name"] == "mlflow-ca"]
        assert environment(container)[path] == f"{mount['mountPath']}/ca.crt"
        (made,) = [one for one in pod["volumes"] if one["name"] == "mlflow-ca"]
        (source,) = made.keys() - {"name"}
        assert made[source].pop("items") == [{"key": "ca.crt", "path": "ca.crt"}], "and no private key beside it"
        assert {source: made[source]} == volume
    given = environment(template(manifests, "operator")["spec"]["containers"][0])
    assert {name: text for name, text in given.items() if name.startswith("FAIRLEAD_OPERATOR_MLFLOW_CA_")} == {
        variable: "corporate",
        "FAIRLEAD_OPERATOR_MLFLOW_CA_FILE": "/etc/fairlead/mlflow-ca/ca.crt",
    }


def test_without_authorities_the_systems_are_trusted(helm: Helm) -> None:
    both = "mlflow.external.caSecret=a,mlflow.external.caConfigMap=b"
    assert "set one of caConfigMap and caSecret" in helm.refused(CHART, *EXTERNAL, "--set", both).stderr
    for profile in PROFILES:
        for whose, pod in pods(render(helm, profile)) if profile != "external-mlflow" else ():
            assert not [one for one in pod.get("volumes", []) if one["name"] == "mlflow-ca"], f"{profile} {whose}"


def test_artifact_hub_is_shown_the_images_of_the_chart(helm: Helm) -> None:
    listed = yaml.safe_load(yaml.safe_load((CHART / "Chart.yaml").read_text())["annotations"]["artifacthub.io/images"])
    assert {one["image"] for one in listed} == set(images(render(helm, "default")).values())
    assert len({one["name"] for one in listed}) == len(listed)
