"""One control plane, one MLflow and one operator for the whole tier; a namespace for each test."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.controlplane.cluster import Api, Kubelet, Operator, Registry, rights
from tests.integration.conftest import mlflow_server as mlflow_server  # the tier's MLflow is the same real server
from tests.log_lines import problems
from tools.localcluster.audit import Audit
from tools.localcluster.controlplane import ControlPlane

ROOT = Path(__file__).parents[2]
RULES = ROOT / "manifests/operator-rules.yaml"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.controlplane)


@pytest.fixture(scope="session")
def audit(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    """What the operator asks of the API server."""
    return Audit(tmp_path_factory.mktemp("audit"), "system:serviceaccount:kube-system:operator")


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory, audit: Audit) -> Iterator[ControlPlane]:
    with ControlPlane(tmp_path_factory.mktemp("plane"), apiserver_args=audit.arguments) as plane:
        plane.kubectl("create", "-f", str(ROOT / "manifests/crd.yaml"))
        plane.kubectl("wait", "--for=condition=Established", "crd/modeldeployments.fairlead.dev", "--timeout=120s")
        yield plane


@pytest.fixture(scope="session")
def api(plane: ControlPlane) -> Api:
    return Api(plane)


@pytest.fixture(scope="session")
def registry(mlflow_server: str) -> Registry:
    return Registry(mlflow_server)


@pytest.fixture(scope="session")
def kubelet(plane: ControlPlane) -> Iterator[Kubelet]:
    kubelet = Kubelet(Api(plane))
    with kubelet.running():
        yield kubelet


@pytest.fixture(scope="session")
def operator(plane: ControlPlane, registry: Registry, kubelet: Kubelet) -> Iterator[Operator]:
    log = plane.directory / "operator.log"
    operator = Operator(rights(plane, RULES), registry.url, log)
    operator.start()
    yield operator
    assert operator.stop() == 0
    lines = log.read_text().splitlines()
    assert not [problem for line in lines for problem in problems(line.encode())], "a log line has another form"
    assert not [line for line in lines if '"exception"' in line], "the operator met a bug"


@pytest.fixture
def namespace(plane: ControlPlane) -> str:
    name = f"t-{secrets.token_hex(4)}"
    plane.kubectl("create", "namespace", name)
    return name
