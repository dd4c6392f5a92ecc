"""`make forward`: Fairlead's five faces at ports of this machine, kept up while pods come and go.

A `kubectl port-forward` is bound to one pod and ends with it, or stays and refuses every connection. Each face has a
thread that starts it anew in either case, until Ctrl-C.
"""

import contextlib
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tools import ports
from tools.cluster import KUBECONFIG, Cluster, CommandError, binaries
from tools.up import JAEGER, MONITORING, NAMESPACE, PROMETHEUS

PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 15.0


@dataclass(frozen=True)
class Face:
    title: str
    namespace: str
    service: str
    port: int
    """Of the Service."""
    local: int
    path: str = ""


FACES = (
    Face("API", NAMESPACE, "fairlead-api", 8000, 8000, "/docs"),
    Face("MLflow", NAMESPACE, "fairlead-mlflow", 5000, 5000),
    Face("Prometheus", MONITORING, PROMETHEUS, 9090, 9090),
    Face("Grafana", MONITORING, "monitoring-grafana", 80, 3000, "/dashboards?tag=fairlead"),
    Face("Jaeger", MONITORING, JAEGER, 16686, 16686),
)


MISSING = dict.fromkeys(("Prometheus", "Jaeger"), "; `make stack` brings it") | {
    "Grafana": "; `make stack` brings it where kind runs, `docker compose up` where Docker does"
}


class ForwardError(Exception):
    """Something the person at the terminal has to change; the message says what."""


@dataclass
class Forward:
    """One face, forwarded until it is stopped."""

    cluster: Cluster
    face: Face
    _stopped: threading.Event = field(default_factory=threading.Event)
    _process: subprocess.Popen[str] | None = None

    def run(self) -> None:
        pause, lost = PAUSE_SECONDS, False
        while not self._stopped.is_set():
            reason = "it ended"
            for line in self._forwarding():
                if "Forwarding from 127.0.0.1" in line:
                    if lost:
                        say(self.face, "is back")
                    pause, lost = PAUSE_SECONDS, False
                elif "error" in line.lower() or "lost connection" in line:
                    self._end()  # its pod is gone, and every further connection would be refused
                    reason = line.strip().removeprefix("error: ")
            if self._stopped.is_set():
                return
            if not lost:
                say(self.face, f"is away, tried again until it is back ({reason})")
            lost = True
            self._stopped.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def stop(self) -> None:
        self._stopped.set()
        self._end()

    def _forwarding(self) -> Iterator[str]:
        face = self.face
        command = [str(self.cluster.binaries / "kubectl"), "port-forward", "--namespace", face.namespace]
        self._process = subprocess.Popen(
            [*command, f"service/{face.service}", f"{face.local}:{face.port}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.cluster.environment,
            start_new_session=True,
        )
        with self._process as process:
            assert process.stdout is not None
            if self._stopped.is_set():
                process.terminate()
            yield from process.stdout

    def _end(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()


def say(face: Face, what: str) -> None:
    print(f"forward: {face.title} {what}", flush=True)


def there(cluster: Cluster) -> list[Face]:
    """The faces this cluster has; says which it has not."""
    found = []
    for face in FACES:
        if cluster.get("service", face.service, face.namespace):
            found.append(face)
        else:
            say(face, "is not on this cluster" + MISSING.get(face.title, ""))
    return found


def require_free(faces: Sequence[Face]) -> None:
    """Raises ForwardError if a port is taken."""
    for face in faces:
        if reason := ports.taken(face.local):
            raise ForwardError(
                f"port {face.local}, for {face.title}, is taken on this machine ({reason}): "
                f"end what listens there (`make run`, another `make forward`?)"
            )


def forward(kubeconfig: Path = KUBECONFIG) -> None:
    """Until Ctrl-C. Raises ForwardError, CommandError."""
    if not kubeconfig.exists():
        raise ForwardError("no cluster here; `make stack` starts one")
    cluster = Cluster(binaries(), kubeconfig)
    faces = there(cluster)
    require_free(faces)
    forwards = [Forward(cluster, face) for face in faces]
    threads = [threading.Thread(target=one.run, name=one.face.title) for one in forwards]
    try:
        for thread in threads:
            thread.start()
        for face in faces:
            say(face, f"at http://127.0.0.1:{face.local}{face.path}")
        print("forward: Ctrl-C ends it", flush=True)
        for thread in threads:
            thread.join()
    finally:
        for one in forwards:
            one.stop()


def main() -> int:
    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # no kubectl must be left behind
        signal.signal(ending, signal.default_int_handler)
    try:
        forward()
    except (ForwardError, CommandError) as error:
        print(f"forward: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
