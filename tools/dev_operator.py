"""`make dev-operator`: the operator from the sources, on the cluster of `make up`, and anew whenever a file is saved.

The one in the cluster rests meanwhile (no replicas) and is back at the end. Ours has its environment, and its rights by
a token of its service account: what its role lacks fails here as there. It sees the names of the cluster, because
its process has the cluster's DNS; that takes root and a cluster on this machine, so not kind.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tools import dev, run
from tools.cluster import KUBECONFIG, LOCAL_CONTEXT, STATE, Cluster, CommandError, binaries
from tools.localcluster.controlplane import free_port
from tools.up import NAMESPACE

SOURCES = Path("operator/fairlead_operator")
DEPLOYMENT = "deployment/fairlead-operator"
TOKEN_HOURS = 12
MINE = STATE / "dev-operator"


def environment(deployment: Mapping[str, Any]) -> dict[str, str]:
    """The container's variables that have a value of their own; those from secrets are of features that ours lacks."""
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}


def kubeconfig(cluster: Cluster, account: str) -> Path:
    """The cluster with the rights of a service account."""
    token = cluster.kubectl("create", "token", account, "--namespace", NAMESPACE, f"--duration={TOKEN_HOURS}h").strip()
    view = json.loads(cluster.kubectl("config", "view", "--raw", "--minify", "--output=json"))
    view["users"] = [{"name": account, "user": {"token": token}}]
    view["contexts"][0]["context"]["user"] = account
    file = MINE / "kubeconfig"
    file.touch(mode=0o600)
    file.write_text(json.dumps(view))
    return file


def resolver(cluster: Cluster) -> Path:
    """A resolv.conf as pods have it."""
    address = cluster.get("service", "kube-dns", "kube-system")["spec"]["clusterIP"]
    file = MINE / "resolv.conf"
    search = f"{NAMESPACE}.svc.cluster.local svc.cluster.local cluster.local"
    file.write_text(f"nameserver {address}\nsearch {search}\noptions ndots:5\n")
    return file


@contextmanager
def resting(cluster: Cluster) -> Iterator[None]:
    """The operator in the cluster has no pod meanwhile: two at once would undo each other's work."""
    said = (DEPLOYMENT, "--namespace", NAMESPACE)
    cluster.kubectl("scale", *said, "--replicas=0")
    try:
        cluster.kubectl(
            "wait", "--for=delete", "pod", "--namespace", NAMESPACE,
            "--selector=app.kubernetes.io/component=operator", "--timeout=60s",
        )  # fmt: skip
        yield
    finally:
        cluster.kubectl("scale", *said, "--replicas=1")
        print("dev-operator: the operator in the cluster starts again", flush=True)


def start(config: Path, names: Path, variables: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    """Its log goes where ours goes."""
    script = 'mount --bind "$1" /etc/resolv.conf && shift && exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", script, "sh", str(names), sys.executable, "-m", "fairlead_operator"]
    return subprocess.Popen(command, env={**os.environ, **variables, "KUBECONFIG": str(config)}, start_new_session=True)


def serve(cluster: Cluster, stopping: Callable[[], bool]) -> None:
    """Until `stopping()`. One that ends by itself is no end: the next save is tried."""
    if cluster.kubectl("config", "current-context").strip() != LOCAL_CONTEXT:
        raise CommandError("this wants the cluster of `make up` on this machine; on kind: skaffold dev")
    deployment = cluster.get("deployment", DEPLOYMENT.partition("/")[2], NAMESPACE)
    if deployment is None:
        raise CommandError("the cluster has no operator of ours: make up")
    MINE.mkdir(parents=True, exist_ok=True)
    variables = environment(deployment) | {"FAIRLEAD_OPERATOR_METRICS_PORT": str(free_port())}
    config = kubeconfig(cluster, deployment["spec"]["template"]["spec"]["serviceAccountName"])
    names = resolver(cluster)
    with resting(cluster):
        process = start(config, names, variables)
        print(f"dev-operator: save a file below {SOURCES} to restart it; Ctrl-C ends it", flush=True)
        ended = False
        try:
            for files in dev.looks(SOURCES, dev.look(SOURCES), stopping):
                if process.poll() is not None and not ended:
                    ended = True
                    print(
                        f"dev-operator: it ended with code {process.returncode}; save a file to try again", flush=True
                    )
                if files:
                    print(f"dev-operator: {files[0]} changed", flush=True)
                    ended = False
                    run.stop("operator", process)
                    process = start(config, names, variables)
        finally:
            run.stop("operator", process)


def main() -> int:
    stopping = run.signalled()
    try:
        serve(Cluster(binaries(), KUBECONFIG), stopping)
    except CommandError as error:
        print(f"dev-operator: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
