"""The only module that talks to the outside: by the user's own `kubectl`, so context, credentials, proxies and exec
plug-ins work as they do there. `KUBECTL` names another program, such as `oc` or `/usr/local/bin/k3s kubectl`.
"""

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from fairlead_kubectl.reading import GROUP, OWNER_LABEL, Json, Snapshot, child_name, printable

RESOURCE: Final = f"modeldeployments.{GROUP}"
OPERATOR: Final = "app.kubernetes.io/part-of=fairlead,app.kubernetes.io/component=operator"
FIELD_MANAGER: Final = "kubectl-fairlead"
_CHILDREN: Final = "deployments.apps,replicasets.apps,pods"
_FORWARDING: Final = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+)")
_SECONDS: Final = 60.0
_KLOG: Final = re.compile(r"[IWE]\d{4} ")
"""What kubectl's libraries log beside its error."""


class ClusterError(Exception):
    """kubectl did not do what it was asked; the message is for the person at the terminal."""


class ForbiddenError(ClusterError):
    """The user has not the right."""


class AbsentError(ClusterError):
    """No such object, or no such kind."""


@dataclass(frozen=True)
class Cluster:
    flags: tuple[str, ...] = ()
    """`--context …`, `--kubeconfig …`: passed on to every call."""
    namespace: str | None = None
    """None: kubectl's own."""

    def command(self, *arguments: str) -> list[str]:
        return [*shlex.split(os.environ.get("KUBECTL", "kubectl")), *self.flags, *arguments]

    def scoped(self, *arguments: str) -> list[str]:
        """A command in the namespace that was asked for."""
        return self.command(*(("--namespace", self.namespace) if self.namespace else ()), *arguments)

    def run(self, command: list[str], stdin: str | None = None, seconds: float = _SECONDS) -> str:
        """Its standard output. Raises ClusterError."""
        try:
            done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=seconds, check=False)
        except FileNotFoundError:
            raise ClusterError(f"{command[0]} is not installed, or not in PATH; KUBECTL can name another") from None
        except subprocess.TimeoutExpired:
            raise ClusterError(f"the cluster did not answer in {seconds:.0f} s: {shlex.join(command)}") from None
        if done.returncode:
            raise _error(done.stderr.strip() or done.stdout.strip() or f"{shlex.join(command)} failed")
        return done.stdout

    def read(self, command: list[str], stdin: str | None = None) -> Any:
        """Its standard output as JSON; None if there is none."""
        text = self.run([*command, "--output", "json"], stdin)
        return printable(json.loads(text)) if text.strip() else None

    def listed(self, kinds: str, *arguments: str, everywhere: bool = False) -> list[Json]:
        """Objects of these kinds."""
        asks = ("get", kinds, *arguments)
        command = self.command(*asks, "--all-namespaces") if everywhere else self.scoped(*asks)
        items: list[Json] = self.read(command)["items"]
        return items

    def raw(self, path: str) -> str:
        """GET of a path of the API server, its proxies to Services and pods among them."""
        return self.run(self.command("get", "--raw", path))

    def current_namespace(self) -> str:
        """The one that was asked for, or the context's."""
        if self.namespace:
            return self.namespace
        found = self.run(self.command("config", "view", "--minify", "--output", "jsonpath={..namespace}"))
        return found.strip() or "default"

    def resource(self, name: str) -> Json:
        """A ModelDeployment. Raises AbsentError."""
        try:
            found: Json = self.read(self.scoped("get", RESOURCE, name, "--show-managed-fields"))
        except AbsentError as error:
            if "resource type" in str(error):
                hint = "the cluster has no ModelDeployments: is Fairlead installed? kubectl fairlead doctor"
                raise ClusterError(hint) from None
            raise AbsentError(f"{error}; kubectl get modeldeployments --all-namespaces lists them") from None
        return found

    def snapshot(self, name: str) -> Snapshot:
        """A ModelDeployment with all that belongs to it."""
        resource = self.resource(name)
        children = self.listed(_CHILDREN, "--selector", f"{OWNER_LABEL}={child_name(resource)}")
        kinds = {kind: [one for one in children if one["kind"] == kind] for kind in ("Deployment", "Pod")}
        names = {resource["metadata"]["name"], *(one["metadata"]["name"] for one in children)}
        events = [one for one in self._events() if (one.get("involvedObject") or {}).get("name") in names]
        return Snapshot(resource, tuple(kinds["Deployment"]), tuple(kinds["Pod"]), tuple(events), self.operators())

    def operators(self) -> tuple[Json, ...] | None:
        """The operator's Deployments; None if they may not be listed."""
        try:
            return tuple(self.listed("deployments.apps", "--selector", OPERATOR, everywhere=True))
        except ForbiddenError:
            return None

    def _events(self) -> list[Json]:
        try:
            return self.listed("events", "--sort-by", ".metadata.creationTimestamp")
        except ForbiddenError:
            return []

    @contextmanager
    def following(self, command: list[str], stderr: int | None = None) -> Iterator["subprocess.Popen[str]"]:
        """A command whose output is read line by line, ended with the context; its errors go where ours go."""
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True) as process:
            try:
                yield process
            finally:
                process.terminate()

    @contextmanager
    def forwarded(self, namespace: str, target: str, port: int) -> Iterator[str]:
        """A base URL on this machine that leads to a Service or pod. Raises ClusterError."""
        command = self.command("port-forward", "--namespace", namespace, target, f":{port}")
        with self.following(command, subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            line = process.stdout.readline()
            found = _FORWARDING.search(line)
            if found is None:
                process.terminate()
                raise _error(line.strip() or process.stderr.read().strip() or f"{shlex.join(command)} failed")
            yield f"http://127.0.0.1:{found[1]}"


def _error(said: str) -> ClusterError:
    """By what the API server said: kubectl's exit code is 1 for all of it."""
    said = "\n".join(line for line in said.splitlines() if not _KLOG.match(line)) or said
    kinds: Mapping[str, type[ClusterError]] = {
        "(Forbidden)": ForbiddenError,
        "forbidden": ForbiddenError,
        "(NotFound)": AbsentError,
        "have a resource type": AbsentError,
    }
    kind = next((kind for word, kind in kinds.items() if word in said), ClusterError)
    return kind(said.removeprefix("error: ").removeprefix("Error from server "))
