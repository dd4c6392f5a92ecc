"""Many ModelDeployments at once, and silence when nothing is left to do. Requests are told apart by the API server's
audit log, so what other tests left behind, and watches that are renewed just now, cannot be mistaken for ours.

`benchmarks/controlplane.py` does the same with 1,000, and measures time, memory and processor time as well."""

import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.controlplane.cluster import Api, Object, Operator, Registry, await_true, md, up_to_date
from tools.localcluster.audit import Audit, Request

RESOURCES = 60
WATCHED = {"modeldeployments", "pods", "deployments", "services", "poddisruptionbudgets", "networkpolicies"}
STATUS = "patch modeldeployments/status"
"""How often depends on what is seen together."""
REST_SECONDS = 10
PATIENCE = 400.0
"""Seconds for all of them. On a busy machine it takes long, and that is not what is tested."""


@pytest.mark.timeout(1800)
def test_many_take_few_requests_none_at_rest_and_none_of_a_new_process(
    api: Api, operator: Operator, registry: Registry, namespace: str, audit: Audit
) -> None:
    first, second = registry.run(), registry.run()
    names = [f"model-{number}" for number in range(RESOURCES)]

    mark = audit.mark()
    each(names, lambda name: api.create("md", md(namespace, name, first, replicas=1)))
    await_serving(api, namespace, names, first)
    await_told(api, namespace, RESOURCES)
    await_rest(audit, namespace)
    made = counted(audit, mark, namespace)
    assert {what: number for what, number in made.items() if what != STATUS} == dict.fromkeys(
        ("patch deployments", "patch services", "patch networkpolicies", "create events"),
        RESOURCES,
    ), "a child takes one request, and how the first roll-out ended is the first Event"

    mark = audit.mark()
    each(names, lambda name: api.patch("md", namespace, name, {"spec": {"model": {"runID": second}}}))
    await_serving(api, namespace, names, second)
    await_told(api, namespace, 2 * RESOURCES)
    await_rest(audit, namespace)
    made = counted(audit, mark, namespace)
    rest = {what: number for what, number in made.items() if what != STATUS}
    assert rest == {"patch deployments": RESOURCES, "create events": 2 * RESOURCES}

    mark = audit.mark()
    time.sleep(REST_SECONDS)  # what is observed is a time in which nothing happens
    assert counted(audit, mark, namespace) == {}
    everywhere = [request for request in audit.since(mark) if not request.namespace]
    assert {request.verb for request in everywhere} <= {"list", "watch"}
    assert repeated(everywhere) == [], "a watch is renewed every five minutes"

    mark = audit.mark()
    operator.restart()
    await_looked_at_all(operator, audit, mark)
    assert counted(audit, mark, namespace) == {}


def each(names: list[str], call: Callable[[str], Any]) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(call, names))


def counted(audit: Audit, mark: int, namespace: str) -> Counter[str]:
    """The operator's requests about one namespace, by verb and resource."""
    found = [request for request in audit.since(mark) if request.namespace == namespace]
    return Counter(f"{request.verb} {request.resource}" for request in found)


def await_looked_at_all(operator: Operator, audit: Audit, mark: int) -> None:
    """Until a new process has listed everything, watches every kind, and has nothing to do."""
    await_true(
        lambda: (
            {request.resource for request in audit.since(mark) if request.verb == "watch"} >= WATCHED
            and operator.metric("fairlead_reconciles_total") >= operator.metric("fairlead_modeldeployments")
            and not operator.metric("fairlead_queue_depth")
        ),
        "a new process has not looked at everything",
        PATIENCE,
    )


def await_serving(api: Api, namespace: str, names: list[str], run_id: str) -> None:
    """Until every status says so: nothing will happen to them that the status would have to tell."""

    def done(resource: Object) -> bool:
        return up_to_date(resource) and bool(resource["status"]["serving"]["runID"] == run_id)

    pending, deadline = set(names), time.monotonic() + PATIENCE
    while pending and time.monotonic() < deadline:
        found = api.list_all("md", namespace)
        pending -= {item["metadata"]["name"] for item in found["items"] if done(item)}
        left = deadline - time.monotonic()
        for event in api.watch("md", namespace, "", found["metadata"]["resourceVersion"], left) if pending else ():
            if done(event["object"]):
                pending.discard(event["object"]["metadata"]["name"])
            if not pending:
                break
    assert not pending, f"{len(pending)} are not up to date"


def await_told(api: Api, namespace: str, completed: int) -> None:
    """Until the Events are there, which come after the statuses."""

    def told() -> bool:
        reasons = [event["reason"] for event in api.list("event", namespace)]
        return reasons.count("RolloutCompleted") >= completed

    await_true(told, f"fewer than {completed} Events are there", PATIENCE)


def await_rest(audit: Audit, namespace: str) -> None:
    """Until nothing has been sent for a while: pods and Deployments still tell of themselves after the last Event."""

    def rests() -> bool:
        mark = audit.mark()
        time.sleep(REST_SECONDS / 2)  # silence gives no sign
        return not [request for request in audit.since(mark) if request.namespace == namespace]

    await_true(rests, "the operator does not come to rest", PATIENCE)


def repeated(requests: list[Request]) -> list[tuple[str, str]]:
    """Verbs and resources that occur more than once."""
    made = [(request.verb, request.resource) for request in requests]
    return sorted({one for one in made if made.count(one) > 1})
