"""A Kubernetes control plane in one directory: etcd, API server, controller manager, scheduler.

The cluster runs one; tests that need no pods run one of their own, without root, about four seconds from start to use:

    from tools.localcluster.controlplane import ControlPlane

    with ControlPlane(tmp_path, apiserver_args=["--runtime-config=api/beta=true"]) as cluster:
        cluster.kubectl("apply", "-f", "manifests/crd.yaml")
        client = load(cluster.kubeconfig)      # a pathlib.Path; user system:masters; context `fairlead`
        cluster.restart_apiserver()            # same port, same data
        cluster.apiserver.log                  # pathlib.Path of what it wrote, as of each other program

Several may run at once, each in its own directory. No nodes: Deployments make ReplicaSets and Pods that stay Pending;
garbage collection, namespaces, RBAC, quotas, HPAs and admission are the real ones.
"""

import http.client
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from ipaddress import ip_network
from pathlib import Path
from types import TracebackType
from typing import Self

from tools.localcluster import binaries, progress
from tools.localcluster.certificates import Authority, Certificate, apiserver_names, write_private
from tools.localcluster.paths import LocalClusterError
from tools.localcluster.processes import Daemon
from tools.localcluster.progress import Say, run

SERVICE_CIDR = "10.96.0.0/16"
READY_SECONDS = 60.0


def free_port(address: str = "127.0.0.1", preferred: int = 0) -> int:
    """The preferred port if nobody listens on it, else one that the kernel says is free."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise LocalClusterError(f"no free port on {address}")


def wait_for(what: str, ready: Callable[[], bool], daemons: Sequence[Daemon], seconds: float = READY_SECONDS) -> None:
    """Poll until ready; fail at once, with the log's end, when one of the programs has ended."""
    deadline = time.monotonic() + seconds
    while not ready():
        for daemon in daemons:
            daemon.check()
        if time.monotonic() > deadline:
            logs = "\n".join(f"{daemon.log}:\n{daemon.tail(5)}" for daemon in daemons)
            raise LocalClusterError(f"{what} is not ready after {seconds:.0f} s.\n{logs}")
        time.sleep(0.05)


class ControlPlane:
    """See the module's text for its use. `directory` is made if missing, and keeps the data over `stop` and `start`.

    The API server listens on 127.0.0.1 only, unless `advertise` is the address under which pods find it. `ports` are
    those of the API server and etcd (clients, peers); 0 is any free one. `…_args` come after our own flags and so win
    over them. `run_directory` is for process files. Without `die_with_parent`, the programs outlive this one; with it,
    start it from a thread that lives as long as it shall.
    """

    def __init__(
        self,
        directory: Path,
        *,
        kubernetes: str = binaries.DEFAULT_KUBERNETES,
        advertise: str = "",
        ports: tuple[int, int, int] = (0, 0, 0),
        etcd_args: Sequence[str] = (),
        apiserver_args: Sequence[str] = (),
        controller_manager_args: Sequence[str] = (),
        scheduler_args: Sequence[str] = (),
        feature_gates: Sequence[str] = (),
        extra_certificates: Sequence[Certificate] = (),
        run_directory: Path | None = None,
        die_with_parent: bool = True,
        say: Say = progress.silent,
    ) -> None:
        self.directory = directory.resolve()
        self.kubernetes = kubernetes
        self._advertise = advertise
        self.kubeconfig = self.directory / "admin.kubeconfig"
        self.authority = Authority(self.directory / "certificates")
        self._ports = tuple(port or free_port() for port in ports)
        self._arguments = {
            "etcd": etcd_args,
            "kube-apiserver": apiserver_args,
            "kube-controller-manager": controller_manager_args,
            "kube-scheduler": scheduler_args,
        }
        self._gates = [f"--feature-gates={','.join(feature_gates)}"] if feature_gates else []
        self._extra_certificates = extra_certificates
        self._die_with_parent = die_with_parent
        self._say = say
        self._run_directory = run_directory or self.directory / "run"
        self._programs = binaries.locate([*binaries.CONTROL_PLANE, "kubectl"], kubernetes=kubernetes)
        self.etcd = self._daemon("etcd", self._etcd_flags())
        self.apiserver = self._daemon("kube-apiserver", self._apiserver_flags())
        self.controller_manager = self._daemon("kube-controller-manager", self._controller_manager_flags())
        self.scheduler = self._daemon("kube-scheduler", self._scheduler_flags())

    @property
    def port(self) -> int:
        return self._ports[0]

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def daemons(self) -> tuple[Daemon, ...]:
        """In the order of their start."""
        return (self.etcd, self.apiserver, self.controller_manager, self.scheduler)

    def start(self) -> None:
        """Start what does not run; return when the API answers and its controllers work. Builds what is not built."""
        binaries.ensure(self._programs, kubernetes=self.kubernetes, say=self._say)
        self._write_credentials()
        for daemon in self.daemons[:2]:  # the API server waits for etcd by itself
            daemon.start()
        wait_for("kube-apiserver", lambda: self.answers("/readyz"), self.daemons[:2])
        for daemon in self.daemons[2:]:
            daemon.start()
        wait_for("kube-controller-manager", self._controllers_work, self.daemons)

    def stop(self) -> None:
        """Stop all; the directory stays."""
        # The API server gives open watches a grace period: nobody is left here to use it.
        for daemon, patience in zip(reversed(self.daemons), (5.0, 5.0, 1.0, 5.0), strict=True):
            daemon.stop(patience)

    def restart_apiserver(self) -> None:
        """As an upgrade of the control plane does: watches break, requests are refused, then it is back."""
        self.apiserver.stop(1.0)
        self.apiserver.start()
        wait_for("kube-apiserver", lambda: self.answers("/readyz"), self.daemons[:2])

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        """What kubectl prints; LocalClusterError with its message when it fails."""
        command: list[str | Path] = [self._programs["kubectl"], f"--kubeconfig={self.kubeconfig}", *arguments]
        return run(command, stdin=stdin, check=check).stdout

    def answers(self, path: str) -> bool:
        """Whether the API server answers this path with 200."""
        tls = ssl.create_default_context(cafile=str(self.authority.certificate))
        stem = self.authority.directory / "admin"
        tls.load_cert_chain(stem.with_suffix(".crt"), stem.with_suffix(".key"))
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=tls, timeout=5)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _controllers_work(self) -> bool:
        """The default service account is made by the controller manager, and pods can't be created before it."""
        return self.answers("/api/v1/namespaces/default/serviceaccounts/default")

    def _daemon(self, name: str, flags: list[str]) -> Daemon:
        gates = [] if name == "etcd" else self._gates
        return Daemon(
            name,
            [self._programs[name], *flags, *gates, *self._arguments[name]],
            self._run_directory,
            self.directory / "logs",
            die_with_parent=self._die_with_parent,
        )

    def _write_credentials(self) -> None:
        names = apiserver_names(SERVICE_CIDR, [self._advertise] if self._advertise else [])
        users = {
            "admin": ("fairlead-admin", "system:masters"),
            "controller-manager": ("system:kube-controller-manager", ""),
            "scheduler": ("system:kube-scheduler", ""),
        }
        self.authority.make(
            [
                Certificate("apiserver", "kube-apiserver", alternative_names=names),
                Certificate("etcd", "etcd", alternative_names=("localhost", "127.0.0.1")),
                Certificate("etcd-client", "kube-apiserver"),
                Certificate("kubelet-client", "kube-apiserver-kubelet-client", "system:masters"),
                Certificate("front-proxy-client", "front-proxy-client"),
                *(Certificate(name, user, group) for name, (user, group) in users.items()),
                *self._extra_certificates,
            ]
        )
        for name in users:
            write_private(self.directory / f"{name}.kubeconfig", self.authority.kubeconfig(name, self.url))

    def _key_pair(self, name: str) -> tuple[str, str]:
        stem = self.authority.directory / name
        return f"{stem}.crt", f"{stem}.key"

    def _etcd_flags(self) -> list[str]:
        certificate, key = self._key_pair("etcd")
        _, client_port, peer_port = self._ports
        client, peer = f"https://127.0.0.1:{client_port}", f"http://127.0.0.1:{peer_port}"
        return [
            f"--data-dir={self.directory}/etcd",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            f"--cert-file={certificate}",
            f"--key-file={key}",
            "--client-cert-auth",
            f"--trusted-ca-file={self.authority.certificate}",
            "--unsafe-no-fsync",  # survives the end of a process, not of the machine
            "--log-level=warn",
        ]

    def _apiserver_flags(self) -> list[str]:
        certificates = self.authority.directory
        authority = str(self.authority.certificate)
        serving, etcd = self._key_pair("apiserver"), self._key_pair("etcd-client")
        kubelet, proxy = self._key_pair("kubelet-client"), self._key_pair("front-proxy-client")
        return [
            f"--bind-address={'0.0.0.0' if self._advertise else '127.0.0.1'}",
            f"--advertise-address={self._advertise or '127.0.0.1'}",
            f"--secure-port={self.port}",
            # A loopback address may not be an Endpoint, and no pod could use it.
            f"--endpoint-reconciler-type={'lease' if self._advertise else 'none'}",
            f"--client-ca-file={authority}",
            f"--tls-cert-file={serving[0]}",
            f"--tls-private-key-file={serving[1]}",
            f"--etcd-servers=https://127.0.0.1:{self._ports[1]}",
            f"--etcd-cafile={authority}",
            f"--etcd-certfile={etcd[0]}",
            f"--etcd-keyfile={etcd[1]}",
            f"--service-cluster-ip-range={SERVICE_CIDR}",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={certificates}/service-account.pub",
            f"--service-account-signing-key-file={certificates}/service-account.key",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged",
            f"--requestheader-client-ca-file={authority}",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-username-headers=X-Remote-User",
            f"--proxy-client-cert-file={proxy[0]}",
            f"--proxy-client-key-file={proxy[1]}",
            "--enable-aggregator-routing",
            f"--kubelet-certificate-authority={authority}",
            f"--kubelet-client-certificate={kubelet[0]}",
            f"--kubelet-client-key={kubelet[1]}",
            # The node's name resolves nowhere: without this, logs, exec and port-forward fail.
            "--kubelet-preferred-address-types=InternalIP,Hostname",
        ]

    def _controller_manager_flags(self) -> list[str]:
        authority = self.authority
        return [
            *self._client_flags("controller-manager"),
            f"--service-cluster-ip-range={ip_network(SERVICE_CIDR)}",
            "--use-service-account-credentials",
            f"--cluster-signing-cert-file={authority.certificate}",
            f"--cluster-signing-key-file={authority.key}",
            f"--root-ca-file={authority.certificate}",
            f"--service-account-private-key-file={authority.directory}/service-account.key",
            "--horizontal-pod-autoscaler-sync-period=5s",
            # The defaults, 20 and 30, alone make the start of the controllers five seconds longer.
            "--kube-api-qps=200",
            "--kube-api-burst=400",
        ]

    def _scheduler_flags(self) -> list[str]:
        return self._client_flags("scheduler")

    def _client_flags(self, name: str) -> list[str]:
        kubeconfig = self.directory / f"{name}.kubeconfig"
        # No port of their own: readiness is seen through the API, and many planes can share a machine.
        return [f"--kubeconfig={kubeconfig}", "--leader-elect=false", "--secure-port=0"]
