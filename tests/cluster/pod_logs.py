"""What the pods of the tests printed, kept in files before their namespaces go: the last phase looks at every line."""

import re
from collections.abc import Iterator
from pathlib import Path

from tools.cluster import STATE, Cluster, CommandError

OURS = "app.kubernetes.io/component in (api,operator,predictor)"
KUBELETS_OWN = re.compile(r"unable to retrieve container logs for containerd://[0-9a-f]+")
"""Of a container that goes away meanwhile; without a line break, so the next line begins right behind it."""
DIRECTORY = STATE / "pod-logs"


def gather(cluster: Cluster, namespace: str, selector: str = OURS, directory: Path = DIRECTORY) -> None:
    """Adds the lines of all containers of Fairlead's pods that are there now to the namespace's file."""
    options = ["--all-containers", "--prefix", "--tail=-1", "--ignore-errors", "--max-log-requests=100"]
    try:
        printed = cluster.kubectl("logs", "--namespace", namespace, "--selector", selector, *options)
    except CommandError:  # a pod that goes away meanwhile
        return
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / f"{namespace}.log").open("a") as file:
        file.writelines(
            f"{line}\n" for line in map(_without_prefix, KUBELETS_OWN.sub("\n", printed).splitlines()) if line
        )


def lines(directory: Path = DIRECTORY) -> Iterator[bytes]:
    """All lines that were gathered, without their line breaks."""
    for path in sorted(directory.glob("*.log")):
        yield from path.read_bytes().splitlines()


def _without_prefix(line: str) -> str:
    """A pod's line without its prefix; nothing of kubectl's own errors, which --ignore-errors puts between bare."""
    prefix, closing, said = line.partition("] ")
    return said.strip() if closing and prefix.startswith("[pod/") else ""
