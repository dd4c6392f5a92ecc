"""`up`, `down` and `status`: one cluster a machine, owned by one checkout.

The owner's note on the machine says whose cluster it is and whether its `up` came to its end. `up` takes what it finds
in one of four ways: all well, so it says so; some programs died, so they are started again; anything else of ours is
cleaned away first; another checkout's is left alone, with a message where it is.
"""

import contextlib
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tools.localcluster import (
    binaries,
    leftovers,
    manifests,
    network,
    node,
    packages,
    paths,
    processes,
    progress,
    scratch,
)
from tools.localcluster.certificates import write_private
from tools.localcluster.controlplane import ControlPlane, free_port, wait_for
from tools.localcluster.paths import MACHINE, Checkout, LocalClusterError
from tools.localcluster.processes import Daemon
from tools.localcluster.progress import Say
from tools.localcluster.stack.install import ADAPTER, PARTS, install

API_PORT = 6443
LOCK = Path("/run/fairlead-localcluster.lock")
NOTE = MACHINE / "owner.json"


@dataclass
class Owner:
    """The note on the machine."""

    checkout: str
    kubernetes: str
    ports: tuple[int, int, int]
    boot: str
    ready: bool = False
    sysctls: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls) -> "Owner | None":
        """None if nobody has a cluster here, or the note is not readable."""
        try:
            value = json.loads(NOTE.read_text())
            first, second, third = value.pop("ports")
            return cls(**value, ports=(first, second, third))
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return None

    def write(self) -> None:
        write_private(NOTE, json.dumps(asdict(self), indent=2))


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@contextmanager
def _machine_lock(say: Say) -> Iterator[None]:
    if os.geteuid() != 0:
        raise LocalClusterError("a node needs root: run it as root (sudo), or use kind with Docker.")
    with LOCK.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another `up` or `down` is at work on this machine; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _refuse_strangers(checkout: Checkout) -> None:
    """Raise if the cluster on this machine belongs to another checkout that is still there."""
    owner = Owner.read()
    if owner is None or owner.checkout == str(checkout.root):
        return
    other = Checkout(Path(owner.checkout))
    if other.root.is_dir() and leftovers.running(other):
        raise LocalClusterError(
            f"this machine's local cluster belongs to {owner.checkout}, and there can be only one. "
            f"To stop it: cd {owner.checkout} && python3 -m tools.localcluster down"
        )


def other_kubelets() -> list[int]:
    """Process ids of kubelets (k3s, kubeadm) in this network namespace that are not ours."""
    ours = {one.pid for one in processes.find(f"{MACHINE}/", ["kubelet"])}
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and (entry / "comm").read_text().strip() in {"kubelet", "k3s-server", "k3s-agent"}:
                same = (entry / "ns/net").readlink() == Path("/proc/self/ns/net").readlink()
                if same and int(entry.name) not in ours:
                    found.append(int(entry.name))
    return found


class LocalCluster:
    """The cluster of one checkout."""

    def __init__(self, checkout: Checkout | None = None, say: Say = progress.say) -> None:
        self.checkout = checkout or Checkout()
        self.say = say

    def up(self, kubernetes: str = "") -> None:
        """Return when the node is Ready and DNS works; at once if they are. No version is that of the cluster that
        runs, else the default."""
        with _machine_lock(self.say):
            _refuse_strangers(self.checkout)
            owner = self._own()
            if owner and self._whole(owner):
                if kubernetes not in {"", owner.kubernetes}:
                    raise LocalClusterError(
                        f"a cluster of Kubernetes {owner.kubernetes} is up, with whatever was put into it. "
                        "To make another one: python3 -m tools.localcluster down"
                    )
                kubernetes = owner.kubernetes
                self.say(f"the cluster is up (Kubernetes {kubernetes})")
                self._say_how()
                return
            began = time.monotonic()
            kubernetes = kubernetes or (owner.kubernetes if owner else binaries.DEFAULT_KUBERNETES)
            programs = self._prepare(kubernetes)
            if owner and owner.ready and owner.kubernetes == kubernetes and leftovers.running(self.checkout):
                self.say("some of the cluster's programs have ended; starting them again")
                try:
                    self._start(owner, programs)
                except LocalClusterError as error:
                    self.say(f"that did not work; starting afresh: {error}")
                    self._start_afresh(kubernetes, programs)
            else:
                self._start_afresh(kubernetes, programs)
            self.say(f"the cluster is up (Kubernetes {kubernetes}), after {time.monotonic() - began:.1f} s")
            self._say_how()

    def down(self, *, purge: bool = False) -> None:
        """Stop and clean; with `purge`, the images and what was built, too."""
        with _machine_lock(self.say):
            _refuse_strangers(self.checkout)
            if self._anything():
                with progress.stage("taking the cluster down", self.say):
                    self._clean()
            else:
                self.say("there is no cluster to take down")
            self.checkout.kubeconfig.unlink(missing_ok=True)
            if purge:
                for path in (self.checkout.state, self.checkout.bin, paths.cache()):
                    shutil.rmtree(path, ignore_errors=True)
                self.say(f"removed {self.checkout.state} and {paths.cache()}")

    def status(self) -> bool:
        """Print what runs; True if the cluster is whole."""
        owner = Owner.read()
        if owner is None or not owner.ready:
            print("no cluster is up; start one: python3 -m tools.localcluster up")
            return False
        if owner.checkout != str(self.checkout.root):
            print(f"the cluster on this machine belongs to {owner.checkout}")
            return False
        whole = self._whole(owner)
        state = "up" if whole else "broken; mend it: python3 -m tools.localcluster up"
        print(f"cluster      {state}")
        print(f"kubernetes   {owner.kubernetes}")
        print(f"API server   https://127.0.0.1:{owner.ports[0]}")
        print(f"kubeconfig   {self.checkout.kubeconfig}")
        for path in sorted((MACHINE / "run").glob("*.pid")):
            known = processes.read_identity(path)
            state = f"running, pid {known.pid}" if known and known.alive else "has ended"
            print(f"{path.stem:<24} {state}; log {self.checkout.state}/logs/{path.stem}.log")
        return whole

    def restart_apiserver(self) -> None:
        """Break every watch and refuse requests for a moment, as an upgrade of the control plane does."""
        self.require()
        owner = self._own()
        assert owner is not None
        with progress.stage("restarting the API server", self.say):
            self._plane(owner).restart_apiserver()

    def install_stack(self, *, adapter: bool = False) -> None:
        """Prometheus, KEDA and Jaeger, and prometheus-adapter if it is asked for."""
        self.require()
        owner = self._own()
        assert owner is not None
        install(self._plane(owner), self.checkout.state, self.say, [*PARTS, ADAPTER] if adapter else PARTS)

    def version(self) -> str:
        """Of Kubernetes, of this checkout's cluster; empty if there is none, or only one that is root's."""
        try:
            owner = self._own()
        except PermissionError:
            return ""
        return owner.kubernetes if owner else ""

    def is_up(self) -> bool:
        """Whether this checkout's cluster is whole."""
        owner = self._own()
        return owner is not None and self._whole(owner)

    def require(self) -> None:
        """Raise unless this checkout's cluster is up."""
        if not self.is_up():
            raise LocalClusterError("no cluster of this checkout is up. Start it: python3 -m tools.localcluster up")

    def _own(self) -> Owner | None:
        owner = Owner.read()
        return owner if owner and owner.checkout == str(self.checkout.root) and owner.boot == boot_id() else None

    def _whole(self, owner: Owner) -> bool:
        known = [processes.read_identity(path) for path in (MACHINE / "run").glob("*.pid")]
        everything = len(known) >= len(leftovers.PROGRAMS) and all(one is not None and one.alive for one in known)
        return (
            owner.ready and everything and self.checkout.kubeconfig.exists() and self._plane(owner).answers("/readyz")
        )

    def _anything(self) -> bool:
        state = self.checkout.state
        kept = {self.checkout.images.name}
        left = state.is_dir() and any(entry.name not in kept for entry in state.iterdir())
        return MACHINE.exists() or left or bool(leftovers.running(self.checkout))

    def _clean(self) -> None:
        owner = Owner.read()
        former = Checkout(Path(owner.checkout)) if owner else self.checkout
        settings = owner.sysctls if owner and owner.boot == boot_id() else {}
        for checkout in {former, self.checkout}:
            leftovers.clean(checkout, self.say)
        network.write_sysctls(settings)

    def _prepare(self, kubernetes: str) -> dict[str, Path]:
        """Distribution packages and built programs: one waits for the network while the other compiles."""
        wanted = [*binaries.CONTROL_PLANE, *binaries.NODE]
        with ThreadPoolExecutor(max_workers=1) as pool:
            installed = pool.submit(packages.ensure, packages.CLUSTER, self.say)
            programs = binaries.ensure(wanted, kubernetes=kubernetes, say=self.say)
            installed.result()
        binaries.link({"kubectl": programs["kubectl"]}, self.checkout.bin)
        return programs

    def _start_afresh(self, kubernetes: str, programs: dict[str, Path]) -> None:
        if self._anything():
            with progress.stage("cleaning up what an earlier cluster left", self.say):
                self._clean()
        if strangers := other_kubelets():
            raise LocalClusterError(
                f"another Kubernetes node runs on this machine (process {strangers[0]}); both would rewrite the same "
                "iptables chains. Stop it, or use it: KUBECONFIG and `helm install`."
            )
        port = free_port("0.0.0.0", API_PORT)
        if port != API_PORT:
            self.say(f"port {API_PORT} is taken; the API server listens on {port}")
        owner = Owner(
            checkout=str(self.checkout.root),
            kubernetes=kubernetes,
            ports=(port, free_port(), free_port()),
            boot=boot_id(),
            sysctls=network.read_sysctls(),
        )
        owner.write()
        self._start(owner, programs)

    def _plane(self, owner: Owner) -> ControlPlane:
        return ControlPlane(
            self.checkout.state,
            kubernetes=owner.kubernetes,
            advertise=network.NODE_ADDRESS,
            ports=owner.ports,
            controller_manager_args=["--enable-hostpath-provisioner"],
            extra_certificates=node.CERTIFICATES,
            run_directory=MACHINE / "run",
            die_with_parent=False,
            say=self.say,
        )

    def _start(self, owner: Owner, programs: dict[str, Path]) -> None:
        """Start whatever does not run, and wait for all of it."""
        plane = self._plane(owner)
        machine = node.Node(self.checkout, plane, programs)
        self._make_volumes()
        with progress.stage("control plane", self.say), ThreadPoolExecutor(max_workers=1) as pool:
            network.up(owner.ports[0])
            containerd = pool.submit(machine.start_containerd)
            plane.start()
            containerd.result()
        with progress.stage("node", self.say):
            machine.start()
            image = scratch.reference(programs["coredns"])
            plane.kubectl("apply", "-f", "-", stdin=manifests.manifests(image, node.read_name_servers()))
            everything: list[Daemon] = [*plane.daemons, *machine.daemons]
            wait_for("the node", machine.is_ready, everything)
        with progress.stage("cluster DNS", self.say):
            wait_for("CoreDNS", node.dns_answers, everything)
        write_private(self.checkout.kubeconfig, plane.kubeconfig.read_text())
        owner.ready = True
        owner.write()

    def _make_volumes(self) -> None:
        """Volumes of this cluster are below its state directory, whatever path the provisioner uses."""
        directory = self.checkout.state / "volumes"
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o755)
        if not os.path.lexists(leftovers.VOLUMES):
            leftovers.VOLUMES.symlink_to(directory)

    def _say_how(self) -> None:
        self.say(f"  export KUBECONFIG={self.checkout.kubeconfig} PATH={self.checkout.bin}:$PATH")
