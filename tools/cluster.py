"""The cluster of `make up` as a Python object: kubectl, helm and port-forwards against `.fairlead/kubeconfig` only.

`tools.up`, `tools.status` and the cluster tests use it. It never looks at the user's own kubeconfig.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tools import kind
from tools.localcluster.cluster import LocalCluster

ROOT = Path(__file__).resolve().parent.parent
STATE = ROOT / ".fairlead"
KUBECONFIG = STATE / "kubeconfig"
LOCAL_CONTEXT = "fairlead"
"""Context of the kubeconfig that `tools.localcluster` writes; kind's has a prefix."""
FORWARDING = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+)")


class CommandError(Exception):
    """A command failed; the message has the command and what it said."""


def run(
    command: list[str], *, stdin: str | None = None, timeout: float = 600, env: dict[str, str] | None = None
) -> str:
    """Runs a command and returns its stdout; raises CommandError with its stderr."""
    done = subprocess.run(
        command, input=stdin, capture_output=True, text=True, timeout=timeout, env=env, cwd=ROOT, check=False
    )
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip())[-4000:]
        raise CommandError(f"{' '.join(command)} ended with code {done.returncode}:\n{said}")
    return done.stdout


def pinned(asked: str, versions: Iterable[str]) -> str:
    """The version of Kubernetes that is asked for, in full or as its minor (1.34); the first where none is."""
    known = list(versions)
    for version in known:
        if not asked or version == asked or version.startswith(f"{asked}."):
            return version
    raise CommandError(f"Kubernetes {asked} is not pinned here. Pinned: KUBERNETES_VERSION={' or '.join(known)}")


@dataclass(frozen=True)
class Cluster:
    """Both programs come from one directory, of the same versions as the cluster."""

    binaries: Path
    kubeconfig: Path = KUBECONFIG

    @cached_property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig)}

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout: float = 600) -> str:
        return run([str(self.binaries / "kubectl"), *arguments], stdin=stdin, timeout=timeout, env=self.environment)

    def helm(self, *arguments: str, timeout: float = 600) -> str:
        return run([str(self.binaries / "helm"), *arguments], timeout=timeout, env=self.environment)

    def get(self, kind: str, name: str, namespace: str = "") -> Any:
        """One object, or None if there is none."""
        scope = ["--namespace", namespace] if namespace else []
        text = self.kubectl("get", kind, name, *scope, "--ignore-not-found", "--output", "json")
        return json.loads(text) if text.strip() else None

    def list(self, kind: str, namespace: str, selector: str = "") -> list[Any]:
        """All objects of a kind in a namespace that match a label selector."""
        text = self.kubectl("get", kind, "--namespace", namespace, "--selector", selector, "--output", "json")
        items: list[Any] = json.loads(text)["items"]
        return items

    @contextmanager
    def port_forward(self, namespace: str, target: str, port: int = 8000) -> Iterator[str]:
        """Forwards a free local port to a Service or pod while the context lasts; yields the base URL."""
        command = [str(self.binaries / "kubectl"), "port-forward", "--namespace", namespace, target, f":{port}"]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self.environment
        ) as forward:
            try:
                assert forward.stdout is not None
                line = forward.stdout.readline()
                found = FORWARDING.search(line)
                if found is None:
                    raise CommandError(f"{' '.join(command)} did not forward: {line.strip()}")
                threading.Thread(target=forward.stdout.read, daemon=True).start()  # it prints a line a connection
                yield f"http://127.0.0.1:{found[1]}"
            finally:
                forward.terminate()


def binaries() -> Path:
    """The directory with kubectl and helm: the machine's own where kind is or Go is not, else built ones."""
    own = {name: shutil.which(name) for name in ("kubectl", "helm")}
    if all(own.values()) and (kind.answers() or not shutil.which("go")):
        directory = STATE / "own-bin"
        directory.mkdir(parents=True, exist_ok=True)
        for name, path in own.items():
            (directory / name).unlink(missing_ok=True)
            (directory / name).symlink_to(str(path))
        return directory
    version = ["--kubernetes", running] if (running := LocalCluster().version()) else []
    command = [sys.executable, "-m", "tools.localcluster", "binaries", "kubectl", "helm", *version]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise CommandError("kubectl and helm could not be built, see above")
    return Path(done.stdout.strip().splitlines()[-1])
