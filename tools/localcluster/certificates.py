"""A certificate authority and what Kubernetes wants signed, by the openssl program.

Elliptic-curve keys: a dozen certificates take less than half a second.
"""

import base64
import json
import os
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path

from tools.localcluster.paths import LocalClusterError
from tools.localcluster.progress import run

DAYS = 3650


@dataclass(frozen=True)
class Certificate:
    """One certificate to sign. With alternative names it is a server's too; all are fit for clients."""

    name: str
    common_name: str
    organization: str = ""
    alternative_names: tuple[str, ...] = ()


def apiserver_names(service_cidr: str, addresses: Iterable[str]) -> tuple[str, ...]:
    """The names that clients in and outside the cluster call the API server by."""
    first = str(ip_network(service_cidr)[1])
    service = [".".join(["kubernetes", "default", "svc", "cluster", "local"][:n]) for n in (1, 2, 3, 5)]
    return tuple(dict.fromkeys([*service, "localhost", "127.0.0.1", first, *addresses]))


def extension_lines(certificate: Certificate) -> list[str]:
    """openssl's extension section of one certificate."""
    lines = ["basicConstraints = critical, CA:FALSE", "keyUsage = critical, digitalSignature"]
    if not certificate.alternative_names:
        return [*lines, "extendedKeyUsage = clientAuth"]
    names = ", ".join(f"{_kind(name)}:{name}" for name in certificate.alternative_names)
    return [*lines, "extendedKeyUsage = serverAuth, clientAuth", f"subjectAltName = {names}"]


def _kind(name: str) -> str:
    try:
        ip_address(name)
    except ValueError:
        return "DNS"
    return "IP"


class Authority:
    """Certificates in one directory: `ca.crt`, and `<name>.crt`, `<name>.key` for each that was asked for."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        if shutil.which("openssl") is None:
            raise LocalClusterError("`openssl` is not on the PATH. Debian, Ubuntu: apt-get install openssl")

    @property
    def certificate(self) -> Path:
        return self.directory / "ca.crt"

    @property
    def key(self) -> Path:
        return self.directory / "ca.key"

    def make(self, certificates: Iterable[Certificate]) -> None:
        """Make the authority and sign; what is already there stays."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not self.certificate.exists():
            self._self_sign()
        service_account = self.directory / "service-account.key"
        if not service_account.exists():
            self._private_key(service_account)
            public = run(["openssl", "pkey", "-in", service_account, "-pubout"]).stdout
            service_account.with_suffix(".pub").write_text(public)
        missing = [one for one in certificates if not (self.directory / f"{one.name}.crt").exists()]
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            list(pool.map(self._sign, missing))

    def _private_key(self, path: Path) -> None:
        run(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", path])
        path.chmod(0o600)

    def _self_sign(self) -> None:
        self._private_key(self.key)
        config = self.directory / "ca.cnf"  # our own: the distribution's may add extensions
        config.write_text(
            "[req]\ndistinguished_name = dn\nprompt = no\nx509_extensions = v3\n[dn]\nCN = fairlead-localcluster\n"
            "[v3]\nbasicConstraints = critical, CA:TRUE\nkeyUsage = critical, keyCertSign, digitalSignature\n"
            "subjectKeyIdentifier = hash\n"
        )
        fresh = self.directory / "ca.crt.new"
        run(["openssl", "req", "-x509", "-new", "-key", self.key, "-days", str(DAYS), "-config", config, "-out", fresh])
        fresh.replace(self.certificate)

    def _sign(self, one: Certificate) -> None:
        stem = self.directory / one.name
        key, request, extensions = stem.with_suffix(".key"), stem.with_suffix(".csr"), stem.with_suffix(".ext")
        self._private_key(key)
        organization = f"O = {one.organization}\n" if one.organization else ""
        config = stem.with_suffix(".cnf")
        config.write_text(f"[req]\ndistinguished_name = dn\nprompt = no\n[dn]\n{organization}CN = {one.common_name}\n")
        extensions.write_text("\n".join(extension_lines(one)) + "\n")
        run(["openssl", "req", "-new", "-key", key, "-config", config, "-out", request])
        fresh = stem.with_suffix(".crt.new")
        serial = "0x" + os.urandom(16).hex()
        authority: list[str | Path] = ["-CA", self.certificate, "-CAkey", self.key, "-set_serial", serial]
        validity: list[str | Path] = ["-days", str(DAYS), "-sha256", "-extfile", extensions]
        run(["openssl", "x509", "-req", "-in", request, *authority, *validity, "-out", fresh])
        fresh.replace(stem.with_suffix(".crt"))
        for scrap in (request, extensions, config):
            scrap.unlink()

    def kubeconfig(self, certificate: str, server: str) -> str:
        """A kubeconfig (JSON, which is YAML) that needs no other file; its context is called `fairlead`."""

        def data(path: Path) -> str:
            return base64.b64encode(path.read_bytes()).decode()

        stem = self.directory / certificate
        name = "fairlead"
        user = {
            "client-certificate-data": data(stem.with_suffix(".crt")),
            "client-key-data": data(stem.with_suffix(".key")),
        }
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": name,
            "clusters": [
                {"name": name, "cluster": {"server": server, "certificate-authority-data": data(self.certificate)}}
            ],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        }
        return json.dumps(config, indent=2) + "\n"


def write_private(path: Path, text: str) -> None:
    """Replace a file that only its owner may read, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.touch(mode=0o600)
    fresh.write_text(text)
    fresh.replace(path)
