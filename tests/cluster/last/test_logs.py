"""Every line that Fairlead's pods printed in the phases before has the documented form."""

import json
import shutil
from collections import Counter

from tests import log_lines
from tests.cluster import pod_logs
from tools.cluster import Cluster
from tools.up import MODELS, NAMESPACE

SECRETS = ("Authorization", "BEGIN PRIVATE KEY", "password=")


def test_every_line_has_the_documented_form(cluster: Cluster) -> None:
    for namespace in (NAMESPACE, MODELS):
        pod_logs.gather(cluster, namespace)
    lines = list(pod_logs.lines())
    shutil.rmtree(pod_logs.DIRECTORY)
    assert len(lines) > 50
    wrong = [problem for line in lines for problem in log_lines.problems(line)]
    assert not wrong, f"{len(wrong)} of {len(lines)} lines: {wrong[:5]}"

    parsed = [json.loads(line) for line in lines]
    services = Counter(line["service"] for line in parsed)
    assert {"fairlead-api", "fairlead-operator", "fairlead-predictor", "fairlead-loader"} <= services.keys(), services
    assert {"started", "request", "audit", "log"} <= {line["event"] for line in parsed}
    assert not [line for line in lines if any(secret.encode() in line for secret in SECRETS)]
