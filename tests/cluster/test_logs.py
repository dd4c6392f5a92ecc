"""Every line that Fairlead printed while the other tests of this tier ran has the documented form. Runs last."""

import json
from collections import Counter

from tests import log_lines
from tests.cluster import printed
from tools.cluster import Cluster
from tools.up import NAMESPACE

SECRETS = ("Authorization", "BEGIN PRIVATE KEY", "password=")


def test_every_line_has_the_documented_form(cluster: Cluster) -> None:
    printed.gather(cluster, NAMESPACE)
    assert len(printed.lines) > 50
    wrong = [problem for line in printed.lines for problem in log_lines.problems(line)]
    assert not wrong, f"{len(wrong)} of {len(printed.lines)} lines: {wrong[:5]}"

    parsed = [json.loads(line) for line in printed.lines]
    services = Counter(line["service"] for line in parsed)
    assert {"fairlead-api", "fairlead-operator", "fairlead-predictor", "fairlead-loader"} <= services.keys(), services
    assert {"started", "request", "audit", "log"} <= {line["event"] for line in parsed}
    assert not [line for line in printed.lines if any(secret.encode() in line for secret in SECRETS)]
