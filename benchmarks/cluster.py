"""Measures the cluster of `make up`: roll-outs, a server's start, image sizes, the operator's memory.

    .venv/bin/python -m benchmarks.cluster

Prints a Markdown table for docs/measurements.md, with machine and date. Times are medians of several rounds.
"""

import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from datetime import date
from pathlib import Path

from examples import breast_cancer
from tests.cluster.models import Models
from tests.cluster.namespaces import Namespace, new_namespace
from tools.cluster import Cluster, binaries
from tools.run import answers
from tools.up import NAMESPACE

ROUNDS = 5


def rollout_seconds(namespace: Namespace, models: Models, body: str) -> tuple[list[float], list[float]]:
    """Seconds from apply to the last answer of the old run, and to UpToDate, for each round; 2 pods, under load."""
    traffic, status = [], []
    runs = [models.good, models.better]
    namespace.deploy("timed", runs[0])
    namespace.await_("timed", "UpToDate")
    for number in range(ROUNDS):
        target = runs[(number + 1) % 2]
        with namespace.load("timed", target, body) as load:
            began = time.time()
            namespace.deploy("timed", target)
            namespace.await_("timed", "UpToDate")
            status.append(time.time() - began)
            result = load.result()
            traffic.append(result["last_other_at"] - began)
            if result["failures"]:
                print(f"round {number}: {result['failures']} failed requests: {result['examples']}", file=sys.stderr)
        namespace.kubectl("wait", "--for=delete", "pod/load", "--timeout=60s")
    return traffic, status


def start_seconds(tracking_uri: str, run_id: str) -> list[float]:
    """Seconds from starting a predictor's process to its first 200 from /health/ready, the bundle being there."""
    times = []
    with tempfile.TemporaryDirectory() as scratch:
        bundle = Path(scratch) / "bundle"
        load = [sys.executable, "-m", "fairlead_service.loading", "--model-uri", f"runs:/{run_id}/model"]
        environment = {**os.environ, "MLFLOW_TRACKING_URI": tracking_uri}
        subprocess.run([*load, "--bundle", str(bundle)], env=environment, check=True, stdout=subprocess.DEVNULL)
        settings = {"FAIRLEAD_ROLE": "predictor", "FAIRLEAD_BUNDLE_DIR": str(bundle), "FAIRLEAD_PORT": "18765"}
        settings["FAIRLEAD_DRAIN_SECONDS"] = "0"
        for _ in range(ROUNDS):
            began = time.monotonic()
            command = [sys.executable, "-m", "fairlead_service"]
            with subprocess.Popen(command, env={**os.environ, **settings}, stdout=subprocess.DEVNULL) as server:
                while not answers("http://127.0.0.1:18765/health/ready") and server.poll() is None:
                    time.sleep(0.01)
                times.append(time.monotonic() - began)
                server.terminate()
    return times


def image_megabytes(cluster: Cluster) -> dict[str, float]:
    """Size of each of our images as the node reports it (not compressed), in MB."""
    found: dict[str, float] = {}
    for node in json.loads(cluster.kubectl("get", "nodes", "-o", "json"))["items"]:
        for image in node["status"]["images"]:
            match = re.search(r"fairlead-(\w+)[:@]", " ".join(image.get("names") or []))
            if match:
                found[match[1]] = image["sizeBytes"] / 1e6
    return found


def operator_megabytes(cluster: Cluster) -> float:
    """The operator's resident memory, in MB, by its own metric."""
    with (
        cluster.port_forward(NAMESPACE, "deployment/fairlead-operator", 8080) as url,
        urllib.request.urlopen(f"{url}/metrics", timeout=10) as response,
    ):
        text = response.read().decode()
    match = re.search(r"^process_resident_memory_bytes (\S+)", text, re.MULTILINE)
    assert match, "the operator exports no process_resident_memory_bytes"
    return float(match[1]) / 1e6


def main() -> int:
    cluster = Cluster(binaries())
    data = breast_cancer.read_data(breast_cancer.DATA)
    body = json.dumps({"features": data[0][:2]})
    with tempfile.TemporaryDirectory() as scratch, new_namespace(cluster, f"bench-{os.getpid()}") as namespace:
        models = Models(cluster, data, Path(scratch))
        traffic, status = rollout_seconds(namespace, models, body)
        with models.tracking() as tracking_uri:
            start = start_seconds(tracking_uri, models.better)
    rows = {
        "roll-out of 2 pods under load: apply → last answer of the old run": f"{statistics.median(traffic):.1f} s",
        "the same: apply → `UpToDate`": f"{statistics.median(status):.1f} s",
        "a server's start to Ready, bundle on disk (20-tree forest)": f"{statistics.median(start):.2f} s",
        **{
            f"image {name}, as the node stores it (not compressed)": f"{size:.0f} MB"
            for name, size in sorted(image_megabytes(cluster).items())
        },
        "operator, resident memory": f"{operator_megabytes(cluster):.0f} MB",
    }
    print(f"{date.today()}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores, medians of {ROUNDS}\n")
    print("| what | measured |\n|---|---|")
    for what, measured in rows.items():
        print(f"| {what} | {measured} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
