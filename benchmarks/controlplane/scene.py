"""What the measurement needs: control plane, fake nodes, MLflow, and the operator with the rights that are shipped."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.controlplane.cluster import Api, Operator, Registry, rights
from tests.integration.conftest import mlflow_running
from tools.localcluster import binaries
from tools.localcluster.audit import Audit
from tools.localcluster.controlplane import ControlPlane
from tools.localcluster.processes import Daemon

ROOT = Path(__file__).parents[2]
ACCOUNT, PEER_ACCOUNT = "operator", "peer"
NODES = 10
PODS_PER_NODE = 250
ALIAS_POLL_SECONDS = 30.0
CONTROLLERS = ("--kube-api-qps=20", "--kube-api-burst=30")
"""Their defaults, as clusters have them: they set the floor."""


@dataclass(frozen=True)
class Scene:
    plane: ControlPlane
    api: Api
    audit: Audit
    """Of the operator's requests, and its peer's."""
    registry: Registry
    operator: Operator
    directory: Path

    def requests(self, account: str) -> float:
        """How many the API server has had from a service account, watches included."""
        return self.api.metric("apiserver_flowcontrol_dispatched_requests_total", flow_schema=account)


@contextlib.contextmanager
def scene(directory: Path) -> Iterator[Scene]:
    """All of it, the operator not started yet."""
    kwok = binaries.ensure(["kwok"])["kwok"]
    accounts = (f"system:serviceaccount:kube-system:{name}" for name in (ACCOUNT, PEER_ACCOUNT))
    audit = Audit(directory / "audit", *accounts)
    plane = ControlPlane(directory / "plane", apiserver_args=audit.arguments, controller_manager_args=CONTROLLERS)
    with plane, mlflow_running(directory / "mlflow") as tracking_uri:
        plane.kubectl("create", "-f", str(ROOT / "manifests/crd.yaml"))
        plane.kubectl("wait", "--for=condition=Established", "crd/modeldeployments.fairlead.dev", "--timeout=60s")
        stages = Path(__file__).parent / "stages.yaml"
        flags = ["--manage-all-nodes", f"--config={stages}", "--node-lease-duration-seconds=40", "--v=WARN"]
        command = [kwok, f"--kubeconfig={plane.kubeconfig}", *flags]
        nodes = Daemon("kwok", command, directory / "run", directory / "logs", die_with_parent=True)
        nodes.start()
        try:
            for number in range(NODES):
                plane.kubectl("create", "-f", "-", stdin=json.dumps(_node(f"fake-{number}")))
            plane.kubectl("wait", "--for=condition=Ready", "node", "--all", "--timeout=60s")
            kubeconfig = rights(plane, ROOT / "manifests/operator-rules.yaml", hours=4)
            settings = {"ALIAS_POLL_SECONDS": str(ALIAS_POLL_SECONDS)}
            operator = Operator(kubeconfig, tracking_uri, directory / "operator.log", settings)
            yield Scene(plane, Api(plane), audit, Registry(tracking_uri), operator, directory)
        finally:
            nodes.stop()


def _node(name: str) -> dict[str, object]:
    room = {"cpu": "64", "memory": "512Gi", "pods": str(PODS_PER_NODE)}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "status": {"allocatable": room, "capacity": room},
    }
