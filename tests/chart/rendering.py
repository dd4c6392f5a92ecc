"""Renders charts with the real Helm, and walks what comes out."""

import functools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts/fairlead"
STACK = ROOT / "charts/fairlead-stack"
PROFILES = {path.name.removesuffix("-values.yaml"): path for path in sorted((CHART / "ci").glob("*-values.yaml"))}
KUBERNETES = "1.37.2"

Manifest = dict[str, Any]


def loaded(text: str) -> list[Manifest]:
    """The objects in YAML text, read by libyaml, which is about ten times as fast as PyYAML's own parser."""
    return [document for document in yaml.load_all(text, Loader=yaml.CSafeLoader) if document]


@dataclass(frozen=True)
class Helm:
    """One Helm program."""

    path: Path

    def run(self, *arguments: str, cwd: Path = ROOT) -> "subprocess.CompletedProcess[str]":
        """Runs it with no cluster to reach: each run has its own releases, in memory, and there are none at first."""
        memory = {"HELM_DRIVER": "memory", "HELM_MEMORY_DRIVER_DATA": os.devnull}
        environment = os.environ | memory | {"KUBECONFIG": os.devnull}
        return subprocess.run(
            [self.path, *arguments], capture_output=True, text=True, timeout=60, check=False, cwd=cwd, env=environment
        )

    def version(self) -> int:
        """Its major version."""
        found = re.search(r"v(\d+)\.", self.run("version", "--template", "{{.Version}}").stdout)
        return int(found[1]) if found else 0

    def template(
        self, chart: Path = CHART, *options: str, release: str = "fairlead", namespace: str = "fairlead"
    ) -> list[Manifest]:
        """What the chart renders, hooks included. Raises AssertionError with Helm's own words if it does not."""
        done = self.refused(chart, *options, release=release, namespace=namespace)
        assert done.returncode == 0, done.stderr
        return loaded(done.stdout)

    def refused(
        self, chart: Path = CHART, *options: str, release: str = "fairlead", namespace: str = "fairlead"
    ) -> "subprocess.CompletedProcess[str]":
        """The same, for values that should not render."""
        return self.run(
            "template", release, str(chart), "--namespace", namespace, "--kube-version", KUBERNETES, *options
        )


@functools.cache
def find_helm(major: int) -> Helm:
    """Helm of that version: FAIRLEAD_HELM / FAIRLEAD_HELM3, else from PATH, else built and cached by localcluster."""
    name, variable = ("helm3", "FAIRLEAD_HELM3") if major == 3 else ("helm", "FAIRLEAD_HELM")
    if named := os.environ.get(variable):
        return _checked(Path(named), major, variable)
    for candidate in dict.fromkeys((name, "helm")):
        if (found := shutil.which(candidate)) and Helm(Path(found)).version() == major:
            return Helm(Path(found))
    command = [sys.executable, "-m", "tools.localcluster", "binaries", name]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=540, check=False)
    if built.returncode:
        pytest.fail(f"no Helm {major}: set {variable}, put {name} on PATH, or mend this:\n{built.stderr}")
    return _checked(Path(built.stdout.splitlines()[-1]) / name, major, " ".join(command[1:]))


def _checked(path: Path, major: int, source: str) -> Helm:
    helm = Helm(path)
    if (found := helm.version()) != major:
        pytest.fail(f"{source} leads to {path}, which is Helm {found}, not {major}")
    return helm


@functools.cache
def _rendered(helm: Helm, profile: str) -> str:
    return json.dumps(helm.template(CHART, "--values", str(PROFILES[profile])))


def render(helm: Helm, profile: str) -> list[Manifest]:
    """What one of the chart's profiles renders; rendered once a session, a fresh copy each time."""
    manifests: list[Manifest] = json.loads(_rendered(helm, profile))
    return manifests


def identity(manifest: Manifest) -> str:
    """`Kind namespace/name`, as messages and test ids have it."""
    metadata = manifest["metadata"]
    return f"{manifest['kind']} {metadata.get('namespace', '')}/{metadata['name']}"


def pick(manifests: list[Manifest], kind: str, name: str = "") -> Manifest:
    """The only manifest of that kind (and name)."""
    found = [one for one in manifests if one["kind"] == kind and name in ("", one["metadata"]["name"])]
    assert len(found) == 1, [identity(one) for one in found]
    return found[0]


def pods(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """(whose, pod spec) for every pod a release can start."""
    for manifest in manifests:
        if manifest["kind"] == "Pod":
            yield identity(manifest), manifest["spec"]
        elif "template" in manifest.get("spec", {}):
            yield identity(manifest), manifest["spec"]["template"]["spec"]


def containers(pod: Manifest) -> list[Manifest]:
    return [*pod.get("initContainers", []), *pod["containers"]]


def environment(container: Manifest) -> dict[str, str]:
    """Plain values of a container's variables; the kubelet's own (valueFrom) are left out."""
    return {entry["name"]: entry["value"] for entry in container.get("env", []) if "value" in entry}


def strict(schema: Any) -> Any:
    """A CRD's structural schema as JSON Schema that knows no fields but its own, as `kubectl apply` is with us."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {
        key: {name: strict(value) for name, value in part.items()} if key == "properties" else strict(part)
        for key, part in schema.items()
        if key not in ("description", "default")
    }
    described = "properties" in schema and "additionalProperties" not in schema
    if described and not schema.get("x-kubernetes-preserve-unknown-fields"):
        closed["additionalProperties"] = False
    return closed


def crd_validator() -> Any:
    """Validator of ModelDeployments by the CRD's schema; its CEL rules need an API server."""
    crd = yaml.safe_load((ROOT / "manifests/crd.yaml").read_text())
    schema = strict(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {"type": "object"}
    return jsonschema.Draft202012Validator(schema)


def documents(path: Path) -> list[Manifest]:
    """The objects of a YAML file."""
    return loaded(path.read_text())
