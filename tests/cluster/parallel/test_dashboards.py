"""Every query of every dashboard returns data from the real Prometheus while the system does what it is made for."""

import json
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.models import Data, Models
from tests.cluster.namespaces import Namespace, new_namespace
from tests.cluster.queries import Prometheus, eventually, prometheus
from tools import dashboards
from tools.cluster import Cluster
from tools.up import NAMESPACE

pytestmark = pytest.mark.xdist_group("dashboards")
MODEL = "drawn"
ONLY_WHEN_IT_HAPPENS = {"Alerts"}
"""Annotations of what does not happen here."""


@pytest.fixture(scope="module")
def busy(cluster: Cluster, models: Models, data: Data) -> Iterator[Namespace]:
    """A namespace with a model that is on trial under load, and one that cannot be resolved."""
    slo = {"successPercent": "99.9", "latencyMilliseconds": 1000}
    long = {"strategy": "Canary", "steps": [50], "stepSeconds": 3600, "minRequests": 20}
    row = data[0][0]
    bodies = json.dumps({"features": row}), json.dumps({"features": [["no number"] * len(row)]})
    with new_namespace(cluster, "t-drawn") as namespace, ExitStack() as stack:
        namespace.deploy("unresolved", models.missing())
        namespace.deploy(MODEL, models.good, slo=slo, rollout=long)
        namespace.await_(MODEL, "UpToDate")
        stack.enter_context(namespace.load(MODEL, "no such run", *bodies, rate=60, limit_seconds=600))
        namespace.deploy(MODEL, models.better, slo=slo, rollout=long)
        namespace.await_(MODEL, "{.status.candidate.weightPercent}=50")
        stack.enter_context(trainings(models))
        yield namespace


@contextmanager
def trainings(models: Models) -> Iterator[None]:
    """The API trains, one model after the other, while the context lasts."""
    done = threading.Event()

    def train() -> None:
        while not done.wait(5):  # there is to be something in every scrape, not nothing else in the machine
            models.train("logistic_regression")

    with ThreadPoolExecutor(1) as pool:
        training = pool.submit(train)
        try:
            yield
        finally:
            done.set()
            training.result()


@pytest.fixture(scope="module")
def asked(cluster: Cluster) -> Iterator[Prometheus]:
    with prometheus(cluster) as found:
        yield found


@pytest.mark.parametrize("path", dashboards.FILES, ids=lambda path: path.stem)
def test_every_query_returns_data(busy: Namespace, asked: Prometheus, path: Path) -> None:
    dashboard = dashboards.read(path)
    wanted = {"namespace": busy.name if "model_deployment" in dashboards.variables(dashboard) else ".*"}
    values = dashboards.constants(dashboard) | wanted | {"model_deployment": MODEL, "cluster": ".*"}
    for variable in dashboards.variables(dashboard).values():
        if variable["type"] == "query":
            await_choices(asked, variable, values, {busy.name, MODEL, NAMESPACE})
    wanted_data = [one for one in dashboards.queries(dashboard) if one.where not in ONLY_WHEN_IT_HAPPENS]

    def silent() -> list[str]:
        return [query.where for query in wanted_data if not answer(asked, lately(query, values))]

    eventually(silent, lambda found: not found, seconds=240)


def await_choices(asked: Prometheus, variable: Mapping[str, Any], values: dict[str, str], ours: set[str]) -> None:
    """Until one of ours can be chosen. Of clusters there is none to choose: one Prometheus that sees one cluster has no
    label of it."""
    query, label = dashboards.looked_up(variable)

    def choices() -> set[str | None]:
        return {series["metric"].get(label) for series in answer(asked, query.filled(values))}

    if label == "cluster":
        assert eventually(choices) == {None}
    else:
        eventually(lambda: choices() & ours)


def lately(query: dashboards.Query, values: dict[str, str]) -> str:
    """A panel's expression now, an annotation's at any time of the last minutes: it marks the begin of something."""
    expression = query.filled(values)
    return f"count_over_time(({expression})[10m:15s])" if query.where == "Roll-outs" else expression


def answer(asked: Prometheus, expression: str) -> list[Any]:
    found: list[Any] = asked.get("query", query=expression)["result"]
    return found


def test_a_candidate_is_seen_beside_what_serves(busy: Namespace, asked: Prometheus, models: Models) -> None:
    of_model = f'namespace="{busy.name}",model_deployment="{MODEL}"'

    def tracks() -> dict[str, str]:
        query = f"count by (track, run) (http_requests_total{{{of_model}}})"
        found = asked.get("query", query=query)["result"]
        return {series["metric"]["track"]: series["metric"]["run"] for series in found}

    eventually(tracks, lambda found: found == {"stable": models.good, "candidate": models.better})


def test_one_row_over_and_over_is_told_as_drift(busy: Namespace) -> None:
    busy.await_(MODEL, "DataDrift", timeout=240)
    told = busy.condition(MODEL, "DataDrift")
    assert "limit 0.25" in told["message"]
    assert busy.condition(MODEL, "Ready")["status"] == "True"
