"""The node's own interface, and taking back what Kubernetes and CNI did to the machine's network and kernel settings.

The node's address is on an interface of ours, not on the machine's: the cluster does not mind when a laptop changes
networks, and only this machine and its pods reach it.
"""

import itertools
import json
import re
import shlex
from collections.abc import Iterable
from ipaddress import IPv4Network, ip_network
from pathlib import Path
from typing import Any

from tools.localcluster.controlplane import SERVICE_CIDR
from tools.localcluster.paths import MACHINE, LocalClusterError
from tools.localcluster.progress import run

INTERFACE = "fairlead0"
NODE_ADDRESS = "10.244.0.1"
POD_CIDR = "10.244.0.0/16"
CNI_NETWORK = "fairlead"

SYSCTLS = (
    "kernel/keys/root_maxbytes",
    "kernel/keys/root_maxkeys",
    "kernel/panic",
    "kernel/panic_on_oops",
    "net/bridge/bridge-nf-call-ip6tables",
    "net/bridge/bridge-nf-call-iptables",
    "net/ipv4/conf/all/route_localnet",
    "net/ipv4/ip_forward",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
)
"""What kubelet, kube-proxy or we change; kept by `up` and set back by `down`."""


def read_sysctls() -> dict[str, str]:
    """The kernel settings as they are; those that this kernel lacks are left out."""
    root = Path("/proc/sys")
    return {name: (root / name).read_text().strip() for name in SYSCTLS if (root / name).exists()}


def write_sysctls(values: dict[str, str]) -> None:
    """Set them where they differ."""
    now = read_sysctls()
    for name, value in values.items():
        if now.get(name, value) != value:
            (Path("/proc/sys") / name).write_text(value)


def _routes() -> list[dict[str, Any]]:
    routes: list[dict[str, Any]] = json.loads(run(["ip", "-j", "-4", "route"]).stdout or "[]")
    return routes


def overlaps(routes: Iterable[dict[str, Any]]) -> list[str]:
    """Routes of others into the cluster's address ranges, as `range on interface`."""
    ours = [IPv4Network(POD_CIDR), IPv4Network(SERVICE_CIDR)]
    found = []
    for route in routes:
        destination, interface = route["dst"], route.get("dev", "?")
        if destination == "default" or interface == INTERFACE:
            continue
        if any(ip_network(destination).overlaps(network) for network in ours):
            found.append(f"{destination} on {interface}")
    return found


def up(api_port: int) -> None:
    """Make the interface, let packets of pods through, keep others from the API server."""
    write_sysctls({"net/ipv4/ip_forward": "1"})
    if not (Path("/sys/class/net") / INTERFACE).exists():
        if clash := overlaps(_routes()):
            raise LocalClusterError(
                f"the cluster's address ranges {POD_CIDR} and {SERVICE_CIDR} are in use here: {', '.join(clash)}. "
                "Take that network down (`ip route` shows it), then try again."
            )
        run(["ip", "link", "add", INTERFACE, "type", "bridge"])  # a bridge without ports: every kernel has it
    run(["ip", "address", "replace", f"{NODE_ADDRESS}/32", "dev", INTERFACE])
    run(["ip", "link", "set", INTERFACE, "up"])
    # Without a default route, a Service's address would be unreachable before kube-proxy's rules see the packet.
    run(["ip", "route", "replace", SERVICE_CIDR, "dev", INTERFACE, "src", NODE_ADDRESS])
    run(["iptables-restore", "--noflush"], stdin=_own_rules(api_port, run(["iptables-save", "-t", "filter"]).stdout))


def _own_rules(api_port: int, saved: str) -> str:
    lines = [
        "*filter",
        ":FAIRLEAD-FORWARD - [0:0]",
        ":FAIRLEAD-INPUT - [0:0]",
        f"-A FAIRLEAD-FORWARD -s {POD_CIDR} -j ACCEPT",  # the policy may be DROP: Docker sets that
        f"-A FAIRLEAD-FORWARD -d {POD_CIDR} -j ACCEPT",
        f"-A FAIRLEAD-INPUT ! -s {POD_CIDR} ! -i lo -p tcp -m tcp --dport {api_port} -j DROP",
    ]
    for chain in ("FORWARD", "INPUT"):
        if f"-A {chain} -j FAIRLEAD-{chain}" not in saved:
            lines.append(f"-I {chain} -j FAIRLEAD-{chain}")
    return "\n".join([*lines, "COMMIT", ""])


def interface_mtu() -> int:
    """The smallest MTU on the way out, for the pods' interfaces."""
    devices = {route.get("dev", "") for route in _routes() if route["dst"] == "default"}
    sizes = [int((Path("/sys/class/net") / name / "mtu").read_text()) for name in devices if name]
    return min(sizes, default=1500)


def down() -> None:
    """Remove our interfaces and every rule of ours, of kube-proxy, of kubelet and of our CNI network."""
    for route in _routes():
        name = route.get("dev", "")
        in_pods = route["dst"] != "default" and IPv4Network(route["dst"]).subnet_of(IPv4Network(POD_CIDR))
        if in_pods and name.startswith("veth"):
            run(["ip", "link", "delete", name], check=False)
    if (Path("/sys/class/net") / INTERFACE).exists():
        run(["ip", "link", "delete", INTERFACE])
    for family in ("iptables", "ip6tables"):
        undo = undo_rules(run([f"{family}-save"], check=False).stdout)
        if undo:
            run([f"{family}-restore", "--noflush"], stdin=undo)
    results = Path("/var/lib/cni/results")  # containerd keeps them here, whatever its state directory
    for path in results.glob("*-*"):
        if path.name.startswith(f"{CNI_NETWORK}-") or f'"{MACHINE}/' in path.read_text():
            path.unlink()
    remove_empty(results, results.parent)


def remove_empty(*directories: Path) -> None:
    """Remove those that are there and empty."""
    for directory in directories:
        if directory.is_dir() and not any(directory.iterdir()):
            directory.rmdir()


def undo_rules(saved: str) -> str:
    """From what iptables-save prints, the input of `iptables-restore --noflush` that removes our chains and every
    rule that jumps into them. Empty if there is nothing of ours. Rules of others stay as they are."""
    script: list[str] = []
    for table in re.findall(r"^\*\w+$.*?^COMMIT$", saved, re.MULTILINE | re.DOTALL):
        lines = table.splitlines()
        chains = {line[1:].split()[0] for line in lines if line.startswith(":")}
        rules = [line for line in lines if line.startswith("-A ")]
        ours = _our_chains(chains, rules)
        deletions = [f"-D{rule[2:]}" for rule in rules if _chain(rule) not in ours and _target(rule) in ours]
        if ours or deletions:
            flush = [f":{chain} - [0:0]" for chain in sorted(ours)]
            remove = [f"-X {chain}" for chain in sorted(ours)]
            script += [lines[0], *flush, *deletions, *remove, "COMMIT"]
    return "\n".join([*script, ""]) if script else ""


def _our_chains(chains: set[str], rules: list[str]) -> set[str]:
    """Kubernetes' and our own by their prefix; a pod's by the network's name in the comment of the jump to it;
    CNI's shared ones if no rule of another network is left in them."""
    ours = {chain for chain in chains if chain.startswith(("KUBE-", "FAIRLEAD-"))}
    mark = f'name: \\"{CNI_NETWORK}\\"'
    ours |= {
        target for rule in rules if mark in rule and (target := _target(rule)) in chains and "HOSTPORT" not in target
    }
    shared = {chain for chain in chains if chain.startswith("CNI-HOSTPORT-")}
    foreign = [rule for rule in rules if _chain(rule) == "CNI-HOSTPORT-DNAT" and _target(rule) not in ours]
    return ours if foreign else ours | shared


def _chain(rule: str) -> str:
    return rule.split(maxsplit=2)[1]


def _target(rule: str) -> str:
    words = shlex.split(rule)
    return next((after for word, after in itertools.pairwise(words) if word in {"-j", "-g"}), "")
