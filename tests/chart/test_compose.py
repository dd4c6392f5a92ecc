"""compose.yaml agrees with the charts, the dashboards and the images; where a Docker engine is, its core is started."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.chart.promtool import promtool
from tests.chart.rendering import ROOT, STACK
from tools import dashboards
from tools.forward import FACES

COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())


def content(name: str) -> Any:
    return yaml.safe_load(COMPOSE["configs"][name]["content"])


def test_the_five_faces_have_the_ports_of_make_forward_on_this_machine_only() -> None:
    published = {port for service in COMPOSE["services"].values() for port in service["ports"]}
    assert {port.split(":")[1] for port in published} == {str(face.local) for face in FACES}
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_prometheus_takes_its_configuration(tmp_path: Path) -> None:
    file = tmp_path / "prometheus.yaml"
    file.write_text(COMPOSE["configs"]["prometheus"]["content"])
    done = subprocess.run(
        [promtool(), "check", "config", "--lint-fatal", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_targets_are_services_and_their_ports() -> None:
    for job in content("prometheus")["scrape_configs"]:
        for static in job["static_configs"]:
            for target in static["targets"]:
                host, _, port = target.partition(":")
                assert any(mapped.endswith(f":{port}") for mapped in COMPOSE["services"][host]["ports"])


def test_the_data_sources_are_those_of_the_stack() -> None:
    sources = {source["uid"]: source for source in content("datasources")["datasources"]}
    stack = yaml.safe_load((STACK / "values.yaml").read_text())["kube-prometheus-stack"]["grafana"]["sidecar"]
    wanted = stack["datasources"]["exemplarTraceIdDestinations"]
    (found,) = sources["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    assert (found["datasourceUid"], found["name"]) == (wanted["datasourceUid"], wanted["traceIdLabelName"])
    assert sources.keys() == {"prometheus", "jaeger"}
    for source in sources.values():
        host = source["url"].removeprefix("http://").partition(":")[0]
        assert host in COMPOSE["services"]


def test_grafana_finds_the_dashboards() -> None:
    (provider,) = content("dashboards")["providers"]
    source, target, mode = COMPOSE["services"]["grafana"]["volumes"][0].split(":")
    assert target == provider["options"]["path"]
    assert mode == "ro"
    assert sorted((ROOT / source).glob("*.json")) == dashboards.FILES


def test_images_are_pinned_or_built_here() -> None:
    for name, service in COMPOSE["services"].items():
        if "build" in service:
            assert (ROOT / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
        else:
            tag = service["image"].partition(":")[2]
            assert tag[tag.startswith("v") :].replace(".", "").isdigit(), name


def engine() -> bool:
    commands = (["docker", "info"], ["docker", "compose", "version"])
    return bool(shutil.which("docker")) and all(
        subprocess.run(command, capture_output=True, check=False).returncode == 0 for command in commands
    )


@pytest.fixture
def core() -> Iterator[str]:
    if not engine():
        pytest.skip("no Docker engine with Compose here: the core of compose.yaml is not started")
    compose = ["docker", "compose", "--project-name", "fairlead-test", "--file", str(ROOT / "compose.yaml")]
    try:
        subprocess.run([*compose, "up", "--build", "--wait", "api"], check=True, timeout=900)
        yield "http://127.0.0.1:8000"
    finally:
        subprocess.run([*compose, "down", "--volumes"], check=False, timeout=120)


def test_the_core_trains_and_serves(core: str) -> None:
    done = subprocess.run(
        [sys.executable, "examples/train_example.py", "--url", core],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    row = [0.0] * 30
    assert httpx.post(f"{core}/predict", json={"features": row}, timeout=30).status_code == 200
