"""`make dev-operator`: the operator out of the sources, with the rights of the one in the cluster."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.models import Models
from tests.cluster.namespaces import Namespace
from tools.cluster import LOCAL_CONTEXT, ROOT, Cluster
from tools.up import NAMESPACE

OPERATORS = "app.kubernetes.io/component=operator"
SOURCE = ROOT / "operator/fairlead_operator/plan.py"


def test_a_saved_file_restarts_it_and_the_cluster_has_its_own_back(
    cluster: Cluster, namespace: Namespace, models: Models, tmp_path: Path
) -> None:
    if cluster.kubectl("config", "current-context").strip() != LOCAL_CONTEXT:
        pytest.skip("the operator of the sources has the names of a cluster on this machine only")
    run_id = models.good
    command = [sys.executable, "-m", "tools.dev_operator"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        watchdog = threading.Timer(240, process.kill)
        watchdog.start()
        try:
            await_line(lines, '"Operator started"')
            assert cluster.list("pods", NAMESPACE, OPERATORS) == []
            os.utime(SOURCE)
            await_line(lines, "plan.py changed")
            await_line(lines, '"Operator started"')
            namespace.deploy("ours", run_id)
            namespace.await_("ours", "Ready")
        finally:
            process.send_signal(signal.SIGTERM)
            said = process.stdout.read()
            watchdog.cancel()
    assert process.returncode == 0, said
    where = ("--namespace", NAMESPACE, "--timeout=120s")
    cluster.kubectl("wait", "--for=condition=Available", "deployment/fairlead-operator", *where)


def await_line(lines: Iterator[str], part: str) -> None:
    seen = []
    for line in lines:
        seen.append(line)
        if part in line:
            return
    raise AssertionError(f"ended without {part!r}: {''.join(seen)}")
