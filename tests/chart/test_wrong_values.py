"""What a careless hand writes into the values, and what it is told: what is wrong, where, and what to write instead."""

from pathlib import Path

import pytest
import yaml

from tests.chart.rendering import CHART, Helm, environment, pick

BY_SCHEMA = {
    "api.replicas=two": "'/api/replicas': got string, want null or integer",
    "api.replicas=-1": "'/api/replicas': minimum: got -1, want 0",
    "api.enabled=yes": "'/api/enabled': got string, want boolean",
    "operater.enabled=true": "additional properties 'operater' not allowed",
    "ingress.enabled=true": "additional properties 'ingress' not allowed",
    "operator.image.tagg=1": "'/operator/image': additional properties 'tagg' not allowed",
    "api.auth.enabled=true": "'/api/auth': additional properties 'enabled' not allowed",
    "service.image.pullPolicy=Sometimes": "'/service/image/pullPolicy': value must be one of 'IfNotPresent', 'Always'",
    "mlflow.service.port=70000": "'/mlflow/service/port': maximum: got 70,000, want 65,535",
    "operator.egressPorts={https}": "'/operator/egressPorts/0': got string, want integer",
    "api.strategy.type=Canary": "'/api/strategy/type': value must be one of 'Recreate', 'RollingUpdate'",
    "api.service.type=Loadbalancer": "'/api/service/type': value must be one of 'ClusterIP', 'NodePort'",
    "api.persistence.accessMode=RWO": "'/api/persistence/accessMode': value must be one of 'ReadWriteOnce'",
    "tracing.sampleRatio=10": "'/tracing/sampleRatio': maximum: got 10, want 1",
    "podSecurityContext.runAsUser=0": "'/podSecurityContext/runAsUser': minimum: got 0, want 1",
    "logLevel=verbose": "'/logLevel': value must be one of 'debug', 'info', 'warning', 'error'",
    "operator.autoscaling.engine=VPA": "'/operator/autoscaling/engine': value must be one of 'KEDA', 'HPA'",
    "api.maxInFlightRequests=0": "'/api/maxInFlightRequests': minimum: got 0, want 1",
    "api.auth.oidc.roles.platform={root}": "'/api/auth/oidc/roles/platform/0': value must be one of 'predict', 'train'",
    "mlflow.backendStore.postgresql.sslMode=true": "sslMode': value must be one of 'disable', 'allow', 'prefer'",
    "monitoring.rules.disabled={ModelDrifts}": "rules/disabled/0': value must be one of 'ModelNoReadyPods'",
}
"""What is wrong by type, key, range or choice, and what the schema says about it."""
BY_CHECKS = {
    "service.image.repository=ghcr.io/Fairlead": 'is "ghcr.io/Fairlead", but it must be an image\'s name',
    "mlflow.image.digest=sha256:12": 'is "sha256:12", but it must be sha256: and 64 hexadecimal digits',
    "operator.image.tag=1": "is 1, but it must be text: write it in quotes",
    "mlflow.image.tag=mlflow:v3": 'is "mlflow:v3", but it must be an image\'s tag alone',
    "mlflow.external.trackingUri=mlflow": 'is "mlflow", but it must be an http:// or https:// address',
    "operator.prometheus.url=prometheus:9090": "but it must be an http:// or https:// address",
    "tracing.endpoint=jaeger:4318": "but it must be the http:// or https:// address of OTLP over HTTP",
    "mlflow.artifacts.s3.endpoint=s3.example.org": "leave it empty for AWS",
    "mlflow.artifacts.s3.bucket=s3://models": "must be the bucket's name alone, without s3://",
    "mlflow.backendStore.postgresql.host=postgresql://db": "must be a host alone, such as db.databases.svc",
    "api.auth.oidc.issuer=http://sso": 'is "http://sso", but it must be an https:// address',
    "mlflow.persistence.size=lots": "must be an amount as Kubernetes writes it, such as 10Gi",
    "mlflow.persistence.size=10GB": 'is "10GB", but it must be an amount as Kubernetes writes it',
    "api.resources.limits.memory=2Gb": "such as 500m of cpu or 2Gi of memory",
    "api.podDisruptionBudget.maxUnavailable=half": "must be a number of pods or a percentage",
    "monitoring.interval=15": "is 15, but it must be a time with its unit, such as 15s",
    "monitoring.interval=15 sec": 'is "15 sec", but it must be a time with its unit',
    "mlflow.allowedHosts[0]=http://mlflow.example.org": "must be a host as requests name it, without http://",
    "api.ingress.hosts[0]=https://fairlead.example.org": "must be a host's name alone, without https://, port and path",
    "mlflow.httpRoute.hostnames[0]=mlflow.example.org:443": "must be a host's name alone, without https://",
    "global.imageRegistry=https://mirror": "must be a registry without https:// and a slash at its end",
    "mlflow.external.caConfigMap=Corporate_CA": "must be the name of a ConfigMap",
    "monitoring.scrapeTimeout=10": "is 10, but it must be a time with its unit",
    "monitoring.namespace=Monitoring": "must be the name of a namespace",
    "api.podLabels.team=1": "is 1, but it must be text: write it in quotes",
    "operator.watchNamespaces=team-a": "must be a list of namespaces, such as [team-a]",
    "operator.watchNamespaces[0]=Team_A": "must be the name of a namespace",
    "fullnameOverride=Fairlead": "must be small letters, digits and dashes",
    "commonLabels.team=1": "is 1, but it must be text: write it in quotes",
    "operator.loadKey.secretName=Load_Key": "must be the name of a Secret",
    "mlflow.credentialsSecret=My_Secret": "must be the name of a Secret",
    "imagePullSecrets[0]=registry": "must be an object, such as {name: my-secret}",
    "networkPolicy.apiFrom[0]=10.0.0.0/8": "must be a peer of a NetworkPolicy, such as {ipBlock: {cidr: 10.0.0.0/8}}",
    "cache.maxBytes=4Gi": "must be a number of bytes without a unit",
}
"""What is wrong by how it is written, and what checks.yaml says about it."""
HIDDEN = {
    "mlflow.backendStore.uri=hunter2": "must be a URI with its scheme, such as mysql+pymysql://",
    "cache.url=redis://user:hunter2@redis": "a password is the key `password` of cache.secretName",
    "mlflow.backendStore.uri=postgresql://u:hunter2@db/mlflow": "must hold no password",
    "mlflow.backendStore.uri=postgresql://u@db/mlflow?password=hunter2": "backendStore.existingSecret",
}
"""The same of values that may hold a password."""


@pytest.mark.parametrize("wrong", BY_SCHEMA)
def test_a_wrong_value_is_named(each_helm: Helm, wrong: str) -> None:
    done = each_helm.refused(CHART, "--set", wrong)
    assert done.returncode != 0
    assert "don't meet the specifications of the schema" in done.stderr
    assert BY_SCHEMA[wrong] in done.stderr, done.stderr


@pytest.mark.parametrize("wrong", BY_CHECKS)
def test_of_wrong_text_it_is_said_what_it_must_be(helm: Helm, wrong: str) -> None:
    done = helm.refused(CHART, "--set", wrong)
    assert done.returncode != 0
    assert f"- {wrong.partition('=')[0]} is " in done.stderr, done.stderr
    assert BY_CHECKS[wrong] in done.stderr, done.stderr


@pytest.mark.parametrize("wrong", HIDDEN)
def test_a_password_is_not_repeated(helm: Helm, wrong: str) -> None:
    done = helm.refused(CHART, "--set", wrong)
    assert f"- {wrong.partition('=')[0]} must" in done.stderr, done.stderr
    assert HIDDEN[wrong] in done.stderr
    assert "hunter2" not in done.stderr


def test_all_wrong_text_is_said_at_once_and_before_anything_else_fails(each_helm: Helm) -> None:
    on = "networkPolicy.enabled=true,networkPolicy.egress.enabled=true,mlflow.replicas=2"
    done = each_helm.refused(CHART, "--set", f"tracing.endpoint=jaeger,cache.url=r,monitoring.interval=x,{on}")
    assert done.stderr.count("\n- ") == 3, done.stderr
    assert "no port is known" not in done.stderr


def test_a_version_that_became_a_number_and_a_variable_that_is_one_are_said(helm: Helm, tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    file.write_text("operator: {image: {tag: 1.10}}\napi: {extraEnv: [{name: A, value: 5}]}\n")
    said = helm.refused(CHART, "--values", str(file)).stderr
    assert "operator.image.tag is 1.1, but it must be text" in said
    assert "api.extraEnv[0].value must be text: write the variable's value in quotes" in said


def test_bytes_may_be_a_number(helm: Helm, tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    file.write_text("cache: {url: 'redis://r', maxBytes: 17179869184}\n")
    manifests = helm.template(CHART, "--values", str(file))
    for component, name in (("api", "FAIRLEAD_CACHE_MAX_BYTES"), ("operator", "FAIRLEAD_OPERATOR_CACHE_MAX_BYTES")):
        pod = pick(manifests, "Deployment", f"fairlead-{component}")["spec"]["template"]["spec"]
        assert environment(pod["containers"][0])[name] == "17179869184"


def test_every_check_is_of_a_value_that_there_is_and_can_be_written_in_yaml() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    for check in yaml.safe_load((CHART / "checks.yaml").read_text())["checks"]:
        assert check["must"].startswith("must ")
        assert check.keys() & {"kinds", "pattern", "never"}
        for path in check["values"]:
            found = values
            for segment in path.partition(".*")[0].split("."):
                assert segment in found, path
                found = found[segment]
