"""Taking a cluster down, from whatever state it is in: running, half started, or killed.

Works from what the machine shows, not from what `up` remembers, so that it can clean up after a killed `up`.
"""

import re
import shutil
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tools.localcluster import network, node, processes
from tools.localcluster.controlplane import wait_for
from tools.localcluster.paths import MACHINE, Checkout, LocalClusterError
from tools.localcluster.processes import Daemon, Identity
from tools.localcluster.progress import Say, run

PROGRAMS = (
    "kubelet",
    "kube-proxy",
    "kube-scheduler",
    "kube-controller-manager",
    "kube-apiserver",
    "etcd",
    "open-volumes",
    "containerd",
)
SHIM = "containerd-shim-runc-v2"
DEVICE_PLUGINS = Path("/var/lib/kubelet/device-plugins/kubelet.sock")
"""Made by kubelet here, whatever its root directory (two kubelets can't be on one machine anyway)."""
SETTLE_SECONDS = 10.0
VOLUMES = Path("/tmp/hostpath_pv")
"""Where the controller manager makes volumes; no flag changes it. A link into the state directory while we run."""


def running(checkout: Checkout, programs: tuple[str, ...] = PROGRAMS) -> list[Identity]:
    """Our living processes: by process file, and by command line for those killed before they had one."""
    known = [processes.read_identity(path) for path in (MACHINE / "run").glob("*.pid")]
    found = {one for one in known if one is not None and one.alive} if programs == PROGRAMS else set()
    for word in (f"{MACHINE}/", f"{checkout.state}/"):
        found.update(processes.find(word, programs))
    return list(found)


def clean(checkout: Checkout, say: Say) -> None:
    """Leave no process, mount, interface, rule, cgroup or data of a cluster; images stay."""
    shim_sockets = _shim_sockets()  # while the bundles that name them are there
    processes.stop(running(checkout, ("kubelet", "kube-proxy")), seconds=3)
    _kill_containers()
    processes.stop(running(checkout, (SHIM,)), seconds=0)  # a shim ends only when containerd tells it to
    processes.stop(running(checkout), seconds=3)
    unmount_below(MACHINE)
    unmount_below(checkout.state)
    network.down()
    _settled(_remove_cgroups)
    _forget_containers(checkout, say)
    for path in shim_sockets:
        path.unlink(missing_ok=True)
    network.remove_empty(Path("/run/containerd/s"), Path("/run/containerd"))
    DEVICE_PLUGINS.unlink(missing_ok=True)
    network.remove_empty(DEVICE_PLUGINS.parent, DEVICE_PLUGINS.parents[1])
    if VOLUMES.is_symlink():
        VOLUMES.unlink()
    _remove_log_links(checkout)
    for path in checkout.state.glob("*"):
        if path != checkout.images:
            _settled(partial(_remove, path))
    shutil.rmtree(MACHINE, ignore_errors=True)
    if MACHINE.exists():
        raise LocalClusterError(f"could not remove {MACHINE}; what holds it: `mount | grep {MACHINE}`")


def _settled(remove: Callable[[], None]) -> None:
    """Removes what the kernel may still be letting go of: killed processes leave cgroups and files a little later,
    and until then they are busy. `remove` is called again until it succeeds, or for `SETTLE_SECONDS`."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        try:
            return remove()
        except OSError as error:
            if time.monotonic() > deadline:
                raise LocalClusterError(f"could not remove what the cluster left: {error}") from error
            time.sleep(0.05)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _kill_containers() -> None:
    """Kill everything in our cgroups. More than once: a process may be forking."""
    for _ in range(50):
        try:
            members = _members()
        except OSError:  # a cgroup went away while it was read
            continue
        if not members:
            return
        for one in members:
            one.signal(signal.SIGKILL)
        time.sleep(0.05)
    raise LocalClusterError(
        f"processes in cgroup {node.CGROUP} that can't be killed: {[one.pid for one in _members()]}"
    )


def _members() -> list[Identity]:
    pids = {
        int(line)
        for root in node.cgroup_directories()
        for file in root.rglob("cgroup.procs")
        for line in file.read_text().split()
    }
    return [one for pid in pids if (one := Identity.of(pid)) is not None]


def _remove_cgroups() -> None:
    for root in node.cgroup_directories():
        if root.exists():
            for directory in sorted((path for path in root.rglob("*") if path.is_dir()), reverse=True):
                directory.rmdir()
            root.rmdir()


def mount_points(mountinfo: str, below: Path) -> list[str]:
    """Mount points at or below a directory, the last mounted first."""
    points = [line.split()[4] for line in mountinfo.splitlines()]
    points = [re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), point) for point in points]
    return [point for point in reversed(points) if point == str(below) or point.startswith(f"{below}/")]


def unmount_below(directory: Path) -> None:
    """Unmount; what is still busy, as soon as it no longer is."""
    for point in mount_points(Path("/proc/self/mountinfo").read_text(), directory):
        if run(["umount", point], check=False).returncode:
            run(["umount", "--lazy", point], check=False)


def _shim_sockets() -> list[Path]:
    """Shims listen in a directory that is the same for every containerd; each bundle names its own."""
    files = (MACHINE / "containerd").glob("io.containerd.runtime.v2.task/*/*/address")
    return [Path(file.read_text().strip().removeprefix("unix://")) for file in files]


def _forget_containers(checkout: Checkout, say: Say) -> None:
    """Remove the containers from containerd's database, so that the next cluster has only the images.

    A containerd without its Kubernetes part does that; if it can't, the images are given up."""
    notes = checkout.images / "io.containerd.grpc.v1.cri"
    if not notes.is_dir() or not any(notes.glob("*/*")):
        return
    config = checkout.state / "cleaning.toml"
    host = node.Host(Path("/nonexistent"), overlay=True, may_raise_limits=True)
    config.write_text(node.containerd_config(checkout, host, "none", cri=False))
    command: list[str | Path] = [node._program("containerd"), "--config", config]
    daemon = Daemon("containerd-cleaning", command, MACHINE / "run", checkout.state / "logs")
    try:
        daemon.start()
        wait_for("containerd", lambda: node.ctr("version").returncode == 0, [daemon], seconds=20)
        containers = node.ctr("containers", "ls", "-q", check=True).stdout.split()
        if containers:
            node.ctr("containers", "rm", *containers, check=True)
        shutil.rmtree(notes)
    except LocalClusterError as error:
        say(f"containerd's data can't be mended and is removed, images with it: {error}")
        daemon.stop()
        shutil.rmtree(checkout.images, ignore_errors=True)
    finally:
        daemon.stop()


def _remove_log_links(checkout: Checkout) -> None:
    """kubelet links every container's log here, wherever the logs are."""
    directory = Path("/var/log/containers")
    if not directory.is_dir():
        return
    for path in directory.iterdir():
        if path.is_symlink() and str(path.readlink()).startswith(f"{checkout.state}/"):
            path.unlink()
    network.remove_empty(directory)
