"""Many ModelDeployments at once, and silence when nothing is left to do. Requests are told apart by the API server's
audit log, so what other tests left behind, and watches that are renewed just now, cannot be mistaken for ours.

`benchmarks/controlplane.py` does the same with 1,000, and measures time, memory and processor time as well."""

import time
from concurrent.futures import ThreadPoolExecutor

from tests.controlplane.cluster import Api, Operator, Registry, md, up_to_date
from tools.localcluster.audit import Audit, Request

RESOURCES = 200
REST_SECONDS = 10
PATIENCE = 400.0
"""Seconds for all of them. On a busy machine it takes long, and that is not what is tested."""


def test_two_hundred_at_once_and_silence_at_rest(
    api: Api, operator: Operator, registry: Registry, namespace: str, audit: Audit
) -> None:
    run_id = registry.run()
    names = [f"model-{number}" for number in range(RESOURCES)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: api.create("md", md(namespace, name, run_id, replicas=1)), names))
    await_up_to_date(api, namespace, names)
    await_told(api, namespace, len(names))
    await_rest(audit, namespace)

    mark = audit.mark()
    time.sleep(REST_SECONDS)  # what is observed is a time in which nothing happens

    assert [request for request in audit.since(mark) if request.namespace == namespace] == []
    everywhere = [request for request in audit.since(mark) if not request.namespace]
    assert {request.verb for request in everywhere} <= {"list", "watch"}
    assert repeated(everywhere) == [], "a watch is renewed every five minutes"


def await_up_to_date(api: Api, namespace: str, names: list[str]) -> None:
    """Until every status says so: nothing will happen to them that the status would have to tell."""
    pending, deadline = set(names), time.monotonic() + PATIENCE
    while pending and time.monotonic() < deadline:
        found = api.list_all("md", namespace)
        pending -= {item["metadata"]["name"] for item in found["items"] if up_to_date(item)}
        left = deadline - time.monotonic()
        for event in api.watch("md", namespace, "", found["metadata"]["resourceVersion"], left) if pending else ():
            if up_to_date(event["object"]):
                pending.discard(event["object"]["metadata"]["name"])
            if not pending:
                break
    assert not pending, f"{len(pending)} are not up to date"


def await_told(api: Api, namespace: str, completed: int) -> None:
    """Until the Events are there, which come after the statuses."""
    deadline = time.monotonic() + PATIENCE
    while (told := [event["reason"] for event in api.list("event", namespace)]).count("RolloutCompleted") < completed:
        assert time.monotonic() < deadline, f"{told.count('RolloutCompleted')} of {completed} Events are there"
        time.sleep(0.2)


def await_rest(audit: Audit, namespace: str) -> None:
    """Until nothing has been sent for a while: pods and Deployments still tell of themselves after the last Event."""
    deadline = time.monotonic() + PATIENCE
    while True:
        mark = audit.mark()
        time.sleep(REST_SECONDS / 2)  # silence gives no sign
        if not [request for request in audit.since(mark) if request.namespace == namespace]:
            return
        assert time.monotonic() < deadline, "the operator does not come to rest"


def repeated(requests: list[Request]) -> list[tuple[str, str]]:
    """Verbs and resources that occur more than once."""
    made = [(request.verb, request.resource) for request in requests]
    return sorted({one for one in made if made.count(one) > 1})
