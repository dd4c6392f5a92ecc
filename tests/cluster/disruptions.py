"""Takes away what Fairlead depends on, and brings it back."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tools import kind as kind_cluster
from tools.cluster import LOCAL_CONTEXT, Cluster, run
from tools.up import MONITORING, NAMESPACE, PROMETHEUS

OPERATOR_PODS = "--selector=app.kubernetes.io/component=operator"


@contextmanager
def without_mlflow(cluster: Cluster) -> Iterator[None]:
    """While the context lasts; afterwards it is ready again."""
    mlflow = ("-n", NAMESPACE, "deployment/fairlead-mlflow")
    try:
        cluster.kubectl("scale", *mlflow, "--replicas=0")
        selector = "--selector=app.kubernetes.io/component=mlflow"
        cluster.kubectl("wait", "-n", NAMESPACE, "--for=delete", "pod", selector, "--timeout=60s")
        yield
    finally:
        cluster.kubectl("scale", *mlflow, "--replicas=1")
        cluster.kubectl("rollout", "status", *mlflow, "--timeout=120s")


def restart_apiserver(cluster: Cluster) -> None:
    """Ends the API server and returns when it answers again."""
    if cluster.kubectl("config", "current-context").strip() == LOCAL_CONTEXT:
        run([sys.executable, "-m", "tools.localcluster", "restart-apiserver"])
    else:
        run(["docker", "exec", f"{kind_cluster.CLUSTER}-control-plane", "pkill", "kube-apiserver"])
        cluster.kubectl("wait", "--for=condition=Ready", "nodes", "--all", "--timeout=120s")


@contextmanager
def without_prometheus(cluster: Cluster) -> Iterator[None]:
    """While the context lasts; afterwards it is ready again."""

    def scale(replicas: int) -> None:
        change = f'{{"spec": {{"replicas": {replicas}}}}}'
        cluster.kubectl("patch", "prometheus", PROMETHEUS, "-n", MONITORING, "--type=merge", "-p", change)
        pods = ["pod", "-n", MONITORING, "--selector=app.kubernetes.io/name=prometheus", "--timeout=120s"]
        if replicas:
            cluster.kubectl("wait", "--for=create", *pods)
        cluster.kubectl("wait", "--for=condition=Ready" if replicas else "--for=delete", *pods)

    scale(0)
    try:
        yield
    finally:
        scale(1)


@contextmanager
def two_operators(cluster: Cluster) -> Iterator[None]:
    """While the context lasts; both are ready when it begins, and one is when it has ended."""
    operator = ("-n", NAMESPACE, "deployment/fairlead-operator")

    def scale(replicas: int) -> None:
        cluster.kubectl("scale", *operator, f"--replicas={replicas}")
        cluster.kubectl("rollout", "status", *operator, "--timeout=120s")

    scale(2)
    try:
        yield
    finally:
        scale(1)


def leader(cluster: Cluster) -> str:
    """Name of the operator's pod that works, as its Lease says."""
    (lease,) = cluster.list("leases", NAMESPACE)
    pod, _, _ = lease["spec"]["holderIdentity"].partition("_")
    return str(pod)


def kill_operator(cluster: Cluster) -> None:
    """Ends the operator's pod at once, as a node that fails does; its Deployment makes another one."""
    cluster.kubectl("delete", "pod", "-n", NAMESPACE, OPERATOR_PODS, "--force", "--grace-period=0")
