"""Runs containers of the chart as processes here: the chart's command, arguments, variables and files, other paths."""

import base64
import contextlib
import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.chart.rendering import CHART, PROFILES, Manifest, find_helm, pick
from tests.integration.conftest import serving
from tests.integration.storage.servers import PASSWORD, S3, Postgresql
from tools.localcluster.certificates import Authority
from tools.localcluster.controlplane import free_port

Secrets = dict[str, dict[str, str]]
POD_IP = "10.1.2.3"
ADMIN = ("admin", "an administrator's: 50%")
USER = ("fairlead", "the service's own: 50%")
SECRET_KEY = "signs forms, and nothing else"


@dataclass(frozen=True)
class Program:
    """What the kubelet would start, with every path below a directory of ours."""

    command: list[str]
    environment: dict[str, str]
    home: Path


def release(profile: str, **values: object) -> list[Manifest]:
    """The chart with a profile of its own; values replace some of it, `__` for the dots of their names."""
    changed = {name.replace("__", "."): value for name, value in values.items()}
    sets = [part for name, value in changed.items() for part in ("--set-json", f"{name}={json.dumps(value)}")]
    return find_helm(4).template(CHART, "--values", str(PROFILES[profile]), *sets)


def program(pod: Manifest, container: Manifest, files: Manifest, root: Path) -> Program:
    """A container as a process. `files`: Secrets and ConfigMaps by name, as {name: {key: text}}."""
    for mount in container["volumeMounts"]:
        directory = root / mount["mountPath"].strip("/")
        directory.mkdir(parents=True, exist_ok=True)
        (volume,) = (one for one in pod["volumes"] if one["name"] == mount["name"])
        source = volume.get("secret", {}).get("secretName") or volume.get("configMap", {}).get("name")
        for key, text in files.get(source, {}).items():
            (directory / key).write_text(text)
    mounted = "|".join(re.escape(mount["mountPath"]) for mount in container["volumeMounts"])
    here = re.compile(rf"(?<![\w.])({mounted})(?=/|$)")

    def moved(text: str) -> str:
        # The bucket's prefix looks like a path, too.
        fixed = not mounted or text.startswith("--artifacts-destination=s3:")
        return text if fixed else here.sub(rf"{root}\1", text)

    for text in root.rglob("*.ini"):
        text.write_text(moved(text.read_text()))
    environment = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    environment |= {one["name"]: moved(_value(one, files)) for one in container["env"]}
    words = [*container["command"], *container.get("args", [])]
    expanded = [re.sub(r"\$\((\w+)\)", lambda match: environment[match[1]], word) for word in words]
    return Program([moved(word) for word in expanded], environment, root / "tmp")


def _value(entry: Manifest, files: Manifest) -> str:
    if "value" in entry:
        return str(entry["value"])
    if reference := entry["valueFrom"].get("secretKeyRef"):
        return str(files[reference["name"]][reference["key"]])
    assert entry["valueFrom"] == {"fieldRef": {"fieldPath": "status.podIP"}}
    return POD_IP


def mlflow_program(manifests: list[Manifest], secrets: Secrets, root: Path) -> Program:
    """The server's container."""
    pod: Manifest = pick(manifests, "Deployment", "fairlead-mlflow")["spec"]["template"]["spec"]
    maps = {one["metadata"]["name"]: one["data"] for one in manifests if one["kind"] == "ConfigMap"}
    return program(pod, pod["containers"][0], maps | secrets, root)


@dataclass(frozen=True)
class Running:
    url: str
    pid: int
    home: Path

    def command_lines(self) -> str:
        """Arguments of the server and of all that it started, as anybody on the node can read them."""
        group = []
        for directory in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if os.getpgid(int(directory.name)) == self.pid:
                    group.append((directory / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        assert group
        return "\n".join(group)


@contextlib.contextmanager
def mlflow_of(manifests: list[Manifest], secrets: Secrets, root: Path) -> Iterator[Running]:
    """The server's container as a process that answers."""
    made = mlflow_program(manifests, secrets, root)
    port = free_port()
    own = {"--port=5000": f"--port={port}", "--host=0.0.0.0": "--host=127.0.0.1"}
    command = [own.get(word, word) for word in made.command]
    url = f"http://127.0.0.1:{port}"
    with serving(command, made.environment, made.home, url) as pid:
        yield Running(url, pid, made.home)


def basic(user: str, password: str) -> dict[str, str]:
    """Variables of a client of that name."""
    return {"MLFLOW_TRACKING_USERNAME": user, "MLFLOW_TRACKING_PASSWORD": password}


def secrets(tls: Authority, s3: S3) -> Secrets:
    certificates = tls.certificate.read_text()
    return {
        "mlflow-db-app": {"password": PASSWORD},
        "mlflow-db-ca": {"ca.crt": certificates},
        "s3-ca": {"tls-ca.crt": certificates},
        "webhook": {"encryption-key": base64.urlsafe_b64encode(bytes(32)).decode()},
        "mlflow-s3": {"AWS_ACCESS_KEY_ID": s3.access_key, "AWS_SECRET_ACCESS_KEY": s3.secret_key},
        "mlflow-admin": {
            "MLFLOW_AUTH_ADMIN_USERNAME": ADMIN[0],
            "MLFLOW_AUTH_ADMIN_PASSWORD": ADMIN[1],
            "MLFLOW_FLASK_SERVER_SECRET_KEY": SECRET_KEY,
        },
    }


def stored_outside(postgresql: Postgresql, s3: S3, database: str) -> list[Manifest]:
    """The chart's profile of that name, with the addresses of our servers."""
    return release(
        "mlflow-storage",
        mlflow__backendStore__postgresql__host="localhost",
        mlflow__backendStore__postgresql__port=postgresql.port,
        mlflow__backendStore__postgresql__database=database,
        mlflow__artifacts__s3__endpoint=s3.endpoint,
    )


def clean() -> dict[str, str]:
    """Our environment without anybody's settings for what is tested here."""
    ours = ("MLFLOW_", "FAIRLEAD_", "AWS_", "PG")
    return {key: value for key, value in os.environ.items() if not key.startswith(ours)}
