"""What the operator exports is as Prometheus wants it: promtool looks at the real page."""

import subprocess
import urllib.request

from fairlead_operator.metrics import PROBLEMS, MetricsServer
from fairlead_operator.store import Store
from tests.chart.promtool import promtool


def test_names_units_and_help_are_as_prometheus_wants_them() -> None:
    store = Store()
    PROBLEMS.set_function(lambda: store.census.problems)
    server = MetricsServer(0, lambda: None, host="127.0.0.1")
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics") as answer:
            text = answer.read().decode()
    finally:
        server.close()
    lines = text.splitlines(keepends=True)
    ours = "".join(line for line in lines if "fairlead_" in line.split("{")[0])
    assert 'fairlead_rollouts_total{verdict="promoted"} ' in ours, "there from the start, so that the first one counts"
    checked = subprocess.run(
        [promtool(), "check", "metrics"], input=ours, capture_output=True, text=True, timeout=60, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")
