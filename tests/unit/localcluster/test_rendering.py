"""Certificates' names, configurations, iptables scripts, image archives: pure functions of their input."""

import io
import json
import tarfile
import tomllib
from pathlib import Path

import pytest

from tools.localcluster import certificates, images, leftovers, manifests, network, node, scratch
from tools.localcluster.certificates import Certificate
from tools.localcluster.paths import Checkout

HOST = node.Host(Path("/usr/lib/cni"), overlay=True, may_raise_limits=False)
CHECKOUT = Checkout(Path('/home/some one/"fairlead"'))


def test_the_api_server_is_called_by_all_these_names() -> None:
    names = certificates.apiserver_names("10.96.0.0/16", ["10.244.0.1", "127.0.0.1"])
    assert names == (
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "localhost",
        "127.0.0.1",
        "10.96.0.1",
        "10.244.0.1",
    )


def test_only_a_certificate_with_names_is_for_servers() -> None:
    server = certificates.extension_lines(Certificate("a", "a", alternative_names=("node", "10.0.0.1")))
    assert "extendedKeyUsage = serverAuth, clientAuth" in server
    assert "subjectAltName = DNS:node, IP:10.0.0.1" in server
    client = certificates.extension_lines(Certificate("a", "a"))
    assert "extendedKeyUsage = clientAuth" in client


def test_the_authority_signs_what_openssl_verifies(tmp_path: Path) -> None:
    authority = certificates.Authority(tmp_path)
    authority.make([Certificate("kubelet", "system:node:x", "system:nodes", ("x",))])
    stem = tmp_path / "kubelet"
    certificates.run(["openssl", "verify", "-CAfile", authority.certificate, stem.with_suffix(".crt")])
    subject = certificates.run(["openssl", "x509", "-noout", "-subject", "-in", stem.with_suffix(".crt")]).stdout
    assert "O = system:nodes, CN = system:node:x" in subject.replace("=", " = ").replace("  ", " ")
    assert stem.with_suffix(".key").stat().st_mode & 0o077 == 0
    before = stem.with_suffix(".crt").read_bytes()
    authority.make([Certificate("kubelet", "system:node:x", "system:nodes", ("x",))])
    assert stem.with_suffix(".crt").read_bytes() == before
    config = json.loads(authority.kubeconfig("kubelet", "https://127.0.0.1:1"))
    assert config["current-context"] == "fairlead"


def test_containerd_is_all_our_own_and_its_paths_are_quoted() -> None:
    config = tomllib.loads(node.containerd_config(CHECKOUT, HOST, "pause:1"))
    assert config["root"] == str(CHECKOUT.images)
    assert config["grpc"]["address"] == "/run/fairlead-localcluster/containerd.sock"
    cri = config["plugins"]["io.containerd.grpc.v1.cri"]
    assert cri["restrict_oom_score_adj"] is True
    assert cri["netns_mounts_under_state_dir"] is True
    assert "io.containerd.grpc.v1.cri" not in config["disabled_plugins"]
    bare = tomllib.loads(node.containerd_config(CHECKOUT, HOST, "pause:1", cri=False))
    assert "io.containerd.grpc.v1.cri" in bare["disabled_plugins"]


def test_socket_names_are_short_enough() -> None:
    for path in (
        node.SOCKET,
        node.KUBELET_ROOT / "pod-resources" / "kubelet.sock",
        node.KUBELET_ROOT / "device-plugins",
    ):
        assert len(str(path)) < 100


def test_cni_network_has_the_name_that_its_rules_are_found_by() -> None:
    config = node.cni_config(CHECKOUT, 1400)
    assert config["name"] == network.CNI_NETWORK
    assert config["plugins"][0]["mtu"] == 1400


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nameserver 127.0.0.53\noptions edns0", []),
        (
            "nameserver 1.1.1.1\nnameserver ::1\n nameserver fe80::1%eth0\n# nameserver 2.2.2.2",
            ["1.1.1.1", "fe80::1%eth0"],
        ),
        ("", []),
    ],
)
def test_pods_ask_no_loopback_name_server(text: str, expected: list[str]) -> None:
    assert node.name_servers(text) == expected


def test_dns_forwards_only_if_there_is_somebody_to_ask() -> None:
    assert "forward" in manifests.corefile(["1.1.1.1"])
    assert "forward" not in manifests.corefile([])
    items = json.loads(manifests.manifests("dns:1", []))["items"]
    assert {item["kind"] for item in items} >= {"StorageClass", "Deployment", "Service", "ConfigMap"}


RULES = r"""*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:CNI-aaa - [0:0]
:CNI-bbb - [0:0]
:CNI-DN-ccc - [0:0]
:CNI-HOSTPORT-DNAT - [0:0]
:DOCKER - [0:0]
:KUBE-SERVICES - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 10.244.0.2/32 -m comment --comment "name: \"fairlead\" id: \"1\"" -j CNI-aaa
-A POSTROUTING -s 10.88.0.2/32 -m comment --comment "name: \"podman\" id: \"2\"" -j CNI-bbb
-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"fairlead\" id: \"1\"" -j CNI-DN-ccc
-A CNI-aaa -d 10.244.0.0/16 -j ACCEPT
COMMIT
*filter
:INPUT DROP [0:0]
-A INPUT -i lo -j ACCEPT
COMMIT
"""


def test_undo_removes_ours_and_leaves_others() -> None:
    script = network.undo_rules(RULES).splitlines()
    assert script[0] == "*nat"
    assert script[-1] == "COMMIT"
    assert "*filter" not in script
    removed = {line.split()[1] for line in script if line.startswith("-X")}
    assert removed == {"CNI-aaa", "CNI-DN-ccc", "CNI-HOSTPORT-DNAT", "KUBE-SERVICES"}
    assert not any("podman" in line or "DOCKER" in line for line in script)
    assert r'-D POSTROUTING -s 10.244.0.2/32 -m comment --comment "name: \"fairlead\" id: \"1\"" -j CNI-aaa' in script


def test_undo_leaves_host_port_chains_that_others_use() -> None:
    foreign = '-A CNI-HOSTPORT-DNAT -m comment --comment "dnat name: \\"podman\\"" -j CNI-DN-ddd\nCOMMIT\n*filter'
    script = network.undo_rules(
        RULES.replace(":DOCKER", ":CNI-DN-ddd - [0:0]\n:DOCKER").replace("COMMIT\n*filter", foreign)
    )
    assert "-X CNI-HOSTPORT-DNAT" not in script
    assert "-X CNI-DN-ccc" in script
    assert "CNI-DN-ddd" not in script


def test_undo_of_nothing_is_nothing() -> None:
    assert network.undo_rules("") == ""
    assert network.undo_rules("*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -j ACCEPT\nCOMMIT\n") == ""


def test_overlapping_networks_are_named() -> None:
    routes = [
        {"dst": "default", "dev": "eth0"},
        {"dst": "10.0.0.0/8", "dev": "tun0"},
        {"dst": "10.96.0.0/16", "dev": network.INTERFACE},
        {"dst": "192.168.0.0/24", "dev": "eth0"},
        {"dst": "10.244.3.4", "dev": "wg0"},
    ]
    assert network.overlaps(routes) == ["10.0.0.0/8 on tun0", "10.244.3.4 on wg0"]


def test_mount_points_below_a_directory_innermost_first() -> None:
    lines = [
        "1 0 8:1 / / rw - ext4 /dev/sda rw",
        "2 1 8:1 / /run/x rw - ext4 /dev/sda rw",
        r"3 2 8:1 / /run/x/with\040space rw - ext4 /dev/sda rw",
        "4 1 8:1 / /run/xy rw - ext4 /dev/sda rw",
    ]
    assert leftovers.mount_points("\n".join(lines), Path("/run/x")) == ["/run/x/with space", "/run/x"]


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("fairlead-service:1", "docker.io/library/fairlead-service:1"),
        ("fairlead-service", "docker.io/library/fairlead-service:latest"),
        ("team/app:1", "docker.io/team/app:1"),
        ("localhost/app:1", "localhost/app:1"),
        ("registry.example:5000/app", "registry.example:5000/app:latest"),
    ],
)
def test_image_names_are_what_kubernetes_makes_of_them(image: str, expected: str) -> None:
    assert images.full_name(image) == expected


def test_an_image_from_scratch_is_the_same_every_time(tmp_path: Path) -> None:
    program = tmp_path / "pause-0123" / "pause"
    program.parent.mkdir()
    program.write_bytes(b"program")
    name = scratch.write_archive(program, tmp_path / "a.tar")
    scratch.write_archive(program, tmp_path / "b.tar")
    assert name == "fairlead.dev/pause:0123"
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    with tarfile.open(tmp_path / "a.tar") as tar:
        manifest = json.loads(read(tar, "manifest.json"))[0]
        assert manifest["RepoTags"] == [name]
        config = json.loads(read(tar, manifest["Config"]))
        with tarfile.open(fileobj=io.BytesIO(read(tar, manifest["Layers"][0]))) as layer:
            assert config["config"]["Entrypoint"] == ["/bin/pause"]
            assert read(layer, "bin/pause") == b"program"


def read(tar: tarfile.TarFile, name: str) -> bytes:
    content = tar.extractfile(name)
    assert content is not None
    return content.read()
