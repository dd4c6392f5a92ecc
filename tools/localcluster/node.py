"""The node: containerd, kubelet, kube-proxy and volumes of our own, beside whatever else this machine runs.

Nothing is shared with another containerd or kubelet: own socket, state, content, cgroup root, CNI network, ports.
"""

import json
import os
import re
import socket
import struct
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from tools.localcluster import network, packages, scratch
from tools.localcluster.certificates import Certificate, write_private
from tools.localcluster.controlplane import ControlPlane, free_port, wait_for
from tools.localcluster.manifests import DNS_ADDRESS
from tools.localcluster.paths import MACHINE, Checkout, LocalClusterError
from tools.localcluster.processes import Daemon
from tools.localcluster.progress import run

NAME = "fairlead"
SOCKET = MACHINE / "containerd.sock"
KUBELET_ROOT = MACHINE / "kubelet"
"""A bind mount of the state directory's `kubelet`: volumes are on the checkout's disk, sockets have short names."""
CGROUP = "fairlead"
CGROUPS = Path("/sys/fs/cgroup")
CAP_SYS_RESOURCE = 24

CERTIFICATES = (
    Certificate("kubelet", f"system:node:{NAME}", "system:nodes", (NAME, network.NODE_ADDRESS)),
    Certificate("kube-proxy", "system:kube-proxy"),
)


@dataclass(frozen=True)
class Host:
    """What decides the configuration of the node's programs."""

    cni_directory: Path
    overlay: bool
    may_raise_limits: bool
    """Without CAP_SYS_RESOURCE (as in some sandboxes), out-of-memory scores can't be lowered."""

    @classmethod
    def look(cls, scratch_directory: Path) -> "Host":
        cni = packages.cni_directory()
        if cni is None:
            raise LocalClusterError("no CNI plugins found. Debian, Ubuntu: apt-get install containernetworking-plugins")
        match = re.search(r"^CapEff:\s*(\w+)", Path("/proc/self/status").read_text(), re.MULTILINE)
        capabilities = int(match[1], 16) if match else 0
        return cls(cni, _overlay_works(scratch_directory), bool(capabilities >> CAP_SYS_RESOURCE & 1))


def _overlay_works(directory: Path) -> bool:
    """Overlay on overlay does not, as when the checkout is inside a container."""
    parts = {name: directory / "overlay-probe" / name for name in ("lower", "upper", "work", "merged")}
    for part in parts.values():
        part.mkdir(parents=True, exist_ok=True)
    options = f"lowerdir={parts['lower']},upperdir={parts['upper']},workdir={parts['work']}"
    mounted = run(["mount", "-t", "overlay", "overlay", "-o", options, parts["merged"]], check=False).returncode == 0
    if mounted:
        run(["umount", parts["merged"]])
    return mounted


def containerd_config(checkout: Checkout, host: Host, pause_image: str, *, cri: bool = True) -> str:
    """containerd's TOML. `cri=False` is for cleaning: content and containers without anything that runs them."""
    disabled = ["io.containerd.internal.v1.opt"]  # it would make /opt/containerd
    disabled += [f"io.containerd.snapshotter.v1.{name}" for name in ("aufs", "blockfile", "btrfs", "devmapper", "zfs")]
    disabled += [] if cri else ["io.containerd.grpc.v1.cri"]
    return f"""version = 2
root = {_toml(checkout.images)}
state = {_toml(MACHINE / "containerd")}
disabled_plugins = {json.dumps(disabled)}

[grpc]
  address = {_toml(SOCKET)}

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = {_toml(pause_image)}
  restrict_oom_score_adj = {json.dumps(not host.may_raise_limits)}
  netns_mounts_under_state_dir = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"

[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "{"overlayfs" if host.overlay else "native"}"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  Root = {_toml(MACHINE / "runc")}
  SystemdCgroup = false

[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = {_toml(host.cni_directory)}
  conf_dir = {_toml(checkout.state / "cni")}
"""


def _toml(value: Path | str) -> str:
    return json.dumps(str(value))  # a basic string is written alike in both


def cni_config(checkout: Checkout, mtu: int) -> dict[str, Any]:
    """A routed pair of interfaces for each pod (no bridge: that would need the br_netfilter module for Services)."""
    ipam = {
        "type": "host-local",
        "dataDir": str(checkout.state / "cni-addresses"),
        "ranges": [[{"subnet": network.POD_CIDR, "gateway": network.NODE_ADDRESS}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    return {
        "cniVersion": "0.4.0",
        "name": network.CNI_NETWORK,
        "plugins": [
            {"type": "ptp", "ipMasq": True, "mtu": mtu, "ipam": ipam},
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }


def kubelet_config(plane: ControlPlane, host: Host, port: int, state: Path) -> dict[str, Any]:
    """A KubeletConfiguration: cgroupfs, cgroup v1 and swap allowed, nothing evicted before the disk is full."""
    certificates = plane.authority.directory
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": network.NODE_ADDRESS,
        "port": port,
        "healthzPort": 0,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(plane.authority.certificate)},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(certificates / "kubelet.crt"),
        "tlsPrivateKeyFile": str(certificates / "kubelet.key"),
        "containerRuntimeEndpoint": f"unix://{SOCKET}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{CGROUP}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "featureGates": {} if host.may_raise_limits else {"KubeletInUserNamespace": True},
        "clusterDomain": "cluster.local",
        "clusterDNS": [DNS_ADDRESS],
        "resolvConf": str(state / "resolv.conf"),
        "podLogsDir": str(state / "pod-logs"),
        "volumePluginDir": str(state / "volume-plugins"),
        "evictionHard": {
            "memory.available": "1%",
            "nodefs.available": "1%",
            "nodefs.inodesFree": "1%",
            "imagefs.available": "1%",
        },
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "serializeImagePulls": False,
    }


def name_servers(resolv_conf: str) -> list[str]:
    """Those that a pod can ask, too: not the machine's loopback."""
    found = re.findall(r"^\s*nameserver\s+(\S+)", resolv_conf, re.MULTILINE)
    return [address for address in found if not ip_address(address.partition("%")[0]).is_loopback]


def read_name_servers() -> list[str]:
    """The machine's, seen through systemd-resolved's stub."""
    for path in (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf")):
        if path.exists() and (servers := name_servers(path.read_text())):
            return servers
    return []


class Node:
    """containerd, kubelet and kube-proxy for one control plane."""

    def __init__(self, checkout: Checkout, plane: ControlPlane, programs: dict[str, Path]) -> None:
        self.checkout = checkout
        self.plane = plane
        self.programs = programs
        state = checkout.state
        self.containerd = self._daemon("containerd", [_program("containerd"), "--config", state / "containerd.toml"])
        kubelet: list[str | Path] = [
            programs["kubelet"],
            f"--config={state / 'kubelet.json'}",
            f"--kubeconfig={state / 'kubelet.kubeconfig'}",
            f"--root-dir={KUBELET_ROOT}",
            f"--hostname-override={NAME}",
            f"--node-ip={network.NODE_ADDRESS}",
        ]
        self.kubelet = self._daemon("kubelet", kubelet)
        proxy: list[str | Path] = [
            programs["kube-proxy"],
            f"--kubeconfig={state / 'kube-proxy.kubeconfig'}",
            f"--hostname-override={NAME}",
            f"--cluster-cidr={network.POD_CIDR}",
            "--proxy-mode=iptables",
            "--iptables-localhost-nodeports=false",
            "--conntrack-max-per-core=0",  # 0: leave the machine's settings alone
            "--conntrack-tcp-timeout-established=0",
            "--conntrack-tcp-timeout-close-wait=0",
            "--healthz-bind-address=",
            "--metrics-bind-address=",
        ]
        self.kube_proxy = self._daemon("kube-proxy", proxy)

        self.volumes = self._daemon("open-volumes", [programs["open-volumes"], state / "volumes"])

    @property
    def daemons(self) -> tuple[Daemon, ...]:
        return (self.containerd, self.volumes, self.kubelet, self.kube_proxy)

    def _daemon(self, name: str, command: list[str | Path]) -> Daemon:
        return Daemon(name, command, MACHINE / "run", self.checkout.state / "logs")

    def start_containerd(self) -> None:
        """containerd, and in it the images that the node itself needs."""
        state = self.checkout.state
        for directory in (self.checkout.images, state / "cni", KUBELET_ROOT, state / "kubelet"):
            directory.mkdir(parents=True, exist_ok=True)
        if not KUBELET_ROOT.is_mount():
            run(["mount", "--bind", state / "kubelet", KUBELET_ROOT])
            run(["mount", "--make-rshared", KUBELET_ROOT])
        host = Host.look(state)
        pause = scratch.reference(self.programs["pause"])
        write_private(state / "containerd.toml", containerd_config(self.checkout, host, pause))
        cni = cni_config(self.checkout, network.interface_mtu())
        write_private(state / "cni" / "10-fairlead.conflist", json.dumps(cni, indent=2))
        self.containerd.start()
        wait_for("containerd", lambda: ctr("version").returncode == 0, [self.containerd])
        import_programs([self.programs["pause"], self.programs["coredns"]], state)

    def start(self) -> None:
        """kubelet and kube-proxy; the control plane answers by now."""
        state = self.checkout.state
        for name in ("kubelet", "kube-proxy"):
            write_private(state / f"{name}.kubeconfig", self.plane.authority.kubeconfig(name, self.plane.url))
        make_cgroup()
        (state / "resolv.conf").write_text("".join(f"nameserver {server}\n" for server in read_name_servers()))
        if self.kubelet.identity is None:
            port = free_port(network.NODE_ADDRESS, 10250)
            config = kubelet_config(self.plane, Host.look(state), port, state)
            write_private(state / "kubelet.json", json.dumps(config, indent=2))
        self.volumes.start()
        self.kubelet.start()
        self.kube_proxy.start()

    def is_ready(self) -> bool:
        """Whether the API server has the node as Ready."""
        path = "{.status.conditions[?(@.type=='Ready')].status}"
        return self.plane.kubectl("get", "node", NAME, f"--output=jsonpath={path}", check=False) == "True"


def dns_answers() -> bool:
    """Whether the cluster's DNS knows the API server's name, asked at its Service's address: so CoreDNS runs and
    kube-proxy's rules are in place, which is a second or so after a pod is Ready."""
    name = b"".join(bytes([len(part)]) + part for part in b"kubernetes.default.svc.cluster.local".split(b"."))
    question = struct.pack(">6H", 1, 0x100, 1, 0, 0, 0) + name + struct.pack(">B2H", 0, 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(0.5)
        try:
            asker.sendto(question, (DNS_ADDRESS, 53))
            answer = asker.recv(512)
        except OSError:
            return False
    return len(answer) > 8 and answer[3] & 0x0F == 0 and answer[7] > 0


def _program(name: str) -> str:
    path = packages.which(name)
    if path is None:
        raise LocalClusterError(f"`{name}` is not installed. Debian, Ubuntu: apt-get install {name}")
    return path


def ctr(*arguments: str, check: bool = False) -> subprocess.CompletedProcess[str]:
    """containerd's own client, in Kubernetes' namespace."""
    return run([_program("ctr"), "--address", SOCKET, "--namespace", "k8s.io", *arguments], check=check)


def images() -> set[str]:
    """Full names (`docker.io/library/fairlead-service:…`) of the images in the cluster."""
    return set(ctr("images", "ls", "-q", check=True).stdout.split())


def import_archive(archive: Path) -> None:
    """Bring an image archive (docker's or OCI's form) into the cluster."""
    ctr("images", "import", str(archive), check=True)


def import_programs(programs: Iterable[Path], directory: Path) -> None:
    """Bring images FROM scratch of these programs into the cluster, as far as it lacks them, by way of a directory."""
    present = images()
    for program in programs:
        if scratch.reference(program) not in present:
            archive = directory / f"{program.name}.tar"
            scratch.write_archive(program, archive)
            import_archive(archive)
            archive.unlink()


def cgroup_directories() -> list[Path]:
    """Our root in each hierarchy: one of cgroup v2, or one a controller of v1."""
    if (CGROUPS / "cgroup.controllers").exists():
        return [CGROUPS / CGROUP]
    return [entry / CGROUP for entry in sorted(CGROUPS.iterdir()) if entry.is_dir() and not entry.is_symlink()]


def make_cgroup() -> None:
    """kubelet wants its root to be there."""
    for directory in cgroup_directories():
        directory.mkdir(exist_ok=True)
        for setting in ("cpuset.cpus", "cpuset.mems"):  # v1: a new cpuset is empty, and no process may enter it
            if (directory / setting).exists() and not (directory / setting).read_text().strip():
                (directory / setting).write_text((directory.parent / setting).read_text())
    control = CGROUPS / "cgroup.subtree_control"
    if control.exists():
        wanted = (CGROUPS / "cgroup.controllers").read_text().split()
        _enable(control, wanted)
        _enable(CGROUPS / CGROUP / "cgroup.subtree_control", wanted)


def _enable(control: Path, controllers: Iterable[str]) -> None:
    for controller in controllers:
        if controller not in control.read_text().split():
            os.write(descriptor := os.open(control, os.O_WRONLY), f"+{controller}".encode())
            os.close(descriptor)
