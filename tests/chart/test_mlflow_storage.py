"""Where the bundled MLflow keeps what: which values belong together, and that no password leaves its Secret."""

from typing import Any

import pytest

from tests.chart.rendering import CHART, PROFILES, Helm, Manifest, environment, pick, render

POSTGRESQL = "mlflow.backendStore.postgresql.host=db,mlflow.backendStore.postgresql.existingSecret.name=s"
FULL = "mlflow.image.tag=v3.17.2-full"
S3 = "mlflow.artifacts.s3.bucket=models"
REFUSED = {
    "mlflow.replicas=2": "mlflow.replicas is 2, but the SQLite database is in one pod only",
    f"mlflow.replicas=2,{FULL},{POSTGRESQL}": "mlflow.replicas is 2, but the artifacts' directory is in one pod only",
    f"mlflow.replicas=2,{FULL},{S3}": "mlflow.replicas is 2, but the SQLite database is in one pod only",
    f"mlflow.replicas=2,mlflow.upgradeDatabase=true,{FULL},{POSTGRESQL},{S3}": "set mlflow.replicas to 1",
    f"{POSTGRESQL},{S3}": "mlflow.image.tag: v3.17.2 has neither the drivers of PostgreSQL and S3 nor Flask-WTF",
    f"{FULL},mlflow.backendStore.postgresql.host=db": "existingSecret.name must name the Secret with the",
    f"{FULL},{POSTGRESQL},mlflow.backendStore.uri=sqlite:////x.db": "set one of uri, existingSecret.name and",
    f"{FULL},{POSTGRESQL},mlflow.backendStore.postgresql.sslMode=verify-full": "caSecret.name must name the Secret",
    f"{FULL},{S3},mlflow.artifactsDestination=gs://b": "set one of artifactsDestination and artifacts.s3.bucket",
    f"{FULL},mlflow.auth.enabled=true": "mlflow.auth.adminSecret must name the Secret with the administrator",
    f"{FULL},mlflow.auth.enabled=true,mlflow.auth.adminSecret=a": "mlflow.credentialsSecret must name the Secret",
    f"{FULL},mlflow.auth.enabled=true,mlflow.auth.adminSecret=a,mlflow.credentialsSecret=b"
    ",mlflow.backendStore.existingSecret.name=c": "backendStore.existingSecret cannot be used",
}


@pytest.mark.parametrize("values", REFUSED)
def test_values_that_contradict_each_other_are_refused(helm: Helm, values: str) -> None:
    done = helm.refused(CHART, "--set", values)
    assert done.returncode != 0
    assert REFUSED[values] in done.stderr


def mlflow(manifests: list[Manifest]) -> Any:
    return pick(manifests, "Deployment", "fairlead-mlflow")["spec"]


def test_without_files_there_is_no_volume_and_servers_roll(helm: Helm) -> None:
    manifests = render(helm, "mlflow-storage")
    spec = mlflow(manifests)
    assert (spec["replicas"], spec["strategy"]["type"]) == (2, "RollingUpdate")
    assert not [one for one in manifests if one["kind"] == "PersistentVolumeClaim"]
    assert "data" not in {volume["name"] for volume in spec["template"]["spec"]["volumes"]}


def test_two_servers_are_on_two_nodes_and_drained_one_by_one(helm: Helm) -> None:
    manifests = render(helm, "mlflow-storage")
    budget = pick(manifests, "PodDisruptionBudget", "fairlead-mlflow")["spec"]
    assert budget["maxUnavailable"] == 1
    assert budget["selector"] == mlflow(manifests)["selector"]
    affinity = mlflow(manifests)["template"]["spec"]["affinity"]
    ((preferred,),) = (kind.values() for kind in affinity.values())
    assert preferred[0]["podAffinityTerm"]["labelSelector"] == mlflow(manifests)["selector"]
    one = render(helm, "default")
    assert not [found for found in one if found["kind"] == "PodDisruptionBudget"], "it would block every drain"
    assert mlflow(one)["template"]["spec"]["affinity"] == affinity, "another number restarts none"
    own = helm.template(CHART, "--set", "mlflow.affinity.nodeAffinity.a=b")
    assert mlflow(own)["template"]["spec"]["affinity"] == {"nodeAffinity": {"a": "b"}}


@pytest.mark.parametrize("values", [f"{FULL},{POSTGRESQL}", f"{FULL},{S3}"])
def test_what_is_still_a_file_keeps_the_volume(helm: Helm, values: str) -> None:
    manifests = helm.template(CHART, "--set", values)
    assert mlflow(manifests)["strategy"]["type"] == "Recreate"
    assert pick(manifests, "PersistentVolumeClaim", "fairlead-mlflow")


def test_passwords_come_from_secrets_and_are_in_no_argument(helm: Helm) -> None:
    manifests = render(helm, "mlflow-storage")
    (container,) = mlflow(manifests)["template"]["spec"]["containers"]
    from_secrets = {one["name"] for one in container["env"] if "secretKeyRef" in one.get("valueFrom", {})}
    assert from_secrets == {
        "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_AUTH_ADMIN_USERNAME",
        "MLFLOW_FLASK_SERVER_SECRET_KEY", "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY", "PGPASSWORD",
    }  # fmt: skip
    for profile in ("default", "production", "mlflow-storage"):
        pod = mlflow(render(helm, profile))["template"]["spec"]
        for one in [*pod["containers"], *pod.get("initContainers", [])]:
            assert "$(MLFLOW_BACKEND_STORE_URI)" not in str(one["command"]) + str(one.get("args"))
    assert not [one for one in manifests if one["kind"] == "Secret"]


def test_an_account_instead_of_keys(helm: Helm) -> None:
    """IRSA and its like: an annotation of the ServiceAccount, no Secret."""
    account = "mlflow.serviceAccount.annotations.eks\\.amazonaws\\.com/role-arn=arn:aws:iam::1:role/mlflow"
    manifests = helm.template(CHART, "--set", f"{FULL},{S3},{account}")
    (container,) = mlflow(manifests)["template"]["spec"]["containers"]
    assert not [one for one in container["env"] if one["name"].startswith("AWS_")]
    assert pick(manifests, "ServiceAccount", "fairlead-mlflow")["metadata"]["annotations"]
    assert "--artifacts-destination=s3://models" in container["args"]


def test_clients_get_the_credentials_of_an_mlflow_that_asks_for_them(helm: Helm) -> None:
    manifests = render(helm, "mlflow-storage")
    (api,) = pick(manifests, "Deployment", "fairlead-api")["spec"]["template"]["spec"]["containers"]
    (operator,) = pick(manifests, "Deployment", "fairlead-operator")["spec"]["template"]["spec"]["containers"]
    references = [
        one["valueFrom"] for one in [*api["env"], *operator["env"]] if "MLFLOW" in one["name"] and "valueFrom" in one
    ]
    assert {one["secretKeyRef"]["name"] for one in references} == {"fairlead-mlflow-user"}
    assert environment(operator)["FAIRLEAD_OPERATOR_MLFLOW_CREDENTIALS_SECRET"] == "fairlead-mlflow-user"
    open_to_all = helm.template(CHART, "--set", "mlflow.credentialsSecret=unused")
    (api,) = pick(open_to_all, "Deployment", "fairlead-api")["spec"]["template"]["spec"]["containers"]
    assert "MLFLOW_TRACKING_USERNAME" not in {one["name"] for one in api["env"]}


def test_a_changed_configuration_of_users_restarts_the_server(helm: Helm) -> None:
    def annotations(*options: str) -> Any:
        manifests = helm.template(CHART, "--values", str(PROFILES["mlflow-storage"]), *options)
        return mlflow(manifests)["template"]["metadata"]["annotations"]

    assert annotations() != annotations("--set", "mlflow.auth.defaultPermission=EDIT")
    assert annotations() == annotations("--set", "mlflow.artifacts.s3.bucket=others")
