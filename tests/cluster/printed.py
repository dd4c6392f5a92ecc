"""What the pods of the tests printed, kept before their namespaces go: the last test looks at every line."""

from tools.cluster import Cluster, CommandError

OURS = "app.kubernetes.io/component in (api,operator,predictor)"
lines: list[bytes] = []


def gather(cluster: Cluster, namespace: str, selector: str = OURS) -> None:
    """Adds the lines of all containers of Fairlead's pods that are there now."""
    options = ["--all-containers", "--prefix", "--tail=-1", "--ignore-errors", "--max-log-requests=100"]
    try:
        printed = cluster.kubectl("logs", "--namespace", namespace, "--selector", selector, *options)
    except CommandError:  # a pod that goes away meanwhile
        return
    lines.extend(line.encode() for line in map(_said_by_pod, printed.splitlines()) if line)


def _said_by_pod(line: str) -> str:
    """A pod's line without its prefix; nothing of kubectl's own errors, which --ignore-errors puts between bare."""
    prefix, closing, said = line.partition("] ")
    return said.strip() if closing and prefix.startswith("[pod/") else ""
