"""Many ModelDeployments at once, and nothing to do afterwards. Prints what docs/ reports."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.controlplane.cluster import Api, Kubelet, Operator, Registry, condition, md
from tools.localcluster.controlplane import ControlPlane

RESOURCES = 200
REST_SECONDS = 15
REQUESTS = "apiserver_flowcontrol_dispatched_requests_total"


def test_two_hundred_at_once_and_silence_at_rest(
    plane: ControlPlane,
    api: Api,
    operator: Operator,
    registry: Registry,
    kubelet: Kubelet,
    namespace: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_id = registry.run()
    kubelet.fates[run_id] = None  # the operator's own part: pods are another matter
    before = api.metric(REQUESTS, flow_schema="operator")
    names = [f"model-{number}" for number in range(RESOURCES)]
    started = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: api.create("md", md(namespace, name, run_id, replicas=1)), names))
    created = time.monotonic() - started

    pending = set(names)
    found = api.list_all("md", namespace)
    pending -= {item["metadata"]["name"] for item in found["items"] if condition(item, "ModelResolved")}
    for event in api.watch("md", namespace, "", found["metadata"]["resourceVersion"], seconds=150) if pending else ():
        if condition(event["object"], "ModelResolved"):
            pending.discard(event["object"]["metadata"]["name"])
        if not pending:
            break
    assert not pending, f"{len(pending)} are not reconciled"
    reconciled = time.monotonic() - started
    sent = api.metric(REQUESTS, flow_schema="operator") - before

    _await_rest(operator)
    before, reconciles = api.metric(REQUESTS, flow_schema="operator"), operator.metric("fairlead_reconciles_total")
    time.sleep(REST_SECONDS)  # what is measured is a time in which nothing happens
    at_rest = (api.metric(REQUESTS, flow_schema="operator") - before) * 60 / REST_SECONDS
    idle = operator.metric("fairlead_reconciles_total") - reconciles

    with capsys.disabled():
        print(  # noqa: T201 - the numbers are the point
            f"\n{RESOURCES} ModelDeployments: created in {created:.1f} s, all reconciled after {reconciled:.1f} s, "
            f"{sent / RESOURCES:.1f} requests each; operator {operator.memory_mib():.0f} MiB; "
            f"at rest {at_rest:.0f} API requests a minute, {idle:.0f} reconciles in {REST_SECONDS} s"
        )
    assert at_rest <= 24, "renewing six watches now and then, and asking again about what stands in somebody's way"
    assert operator.memory_mib() < 200


def _await_rest(operator: Operator) -> None:
    """Until the pods' and Deployments' own events have been seen."""
    last, quiet_since = -1.0, time.monotonic()
    while time.monotonic() - quiet_since < 3:
        now = operator.metric("fairlead_reconciles_total")
        if now != last:
            last, quiet_since = now, time.monotonic()
        time.sleep(0.2)  # counters give no signal when they stop
