"""When objects got somewhere, told by one watch."""

import time
from collections.abc import Callable, Mapping

from tests.controlplane.cluster import Api, Object, settled

Milestones = Mapping[str, Callable[[Object], bool]]
"""What is waited for, by name."""


def reach(
    api: Api, kind: str, namespace: str, number: int, milestones: Milestones, seconds: float = 7200
) -> dict[str, float]:
    """Waits until so many objects of a namespace have passed each milestone; returns when the last one did."""
    passed: dict[str, set[str]] = {name: set() for name in milestones}
    reached: dict[str, float] = {}
    deadline = time.monotonic() + seconds

    def look(obj: Object) -> bool:
        for name, holds in milestones.items():
            if name not in reached and holds(obj):
                passed[name].add(obj["metadata"]["name"])
                if len(passed[name]) >= number:
                    reached[name] = time.monotonic()
        return len(reached) == len(milestones)

    while (left := deadline - time.monotonic()) > 0:
        found = api.list_all(kind, namespace)
        if any([look(obj) for obj in found["items"]]):
            return reached
        for event in api.watch(kind, namespace, "", found["metadata"]["resourceVersion"], min(left, 250)):
            if look(event["object"]):
                return reached
    missing = {name: number - len(names) for name, names in passed.items()}
    raise TimeoutError(f"after {seconds:.0f} s, so many {kind} are not there yet: {missing}")


def await_gone(api: Api, kinds: tuple[str, ...], namespace: str, seconds: float = 7200) -> None:
    deadline = time.monotonic() + seconds
    for kind in kinds:
        while api.list(kind, namespace):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{kind} are still there after {seconds:.0f} s")
            time.sleep(0.5)


def await_quiet(api: Api, seconds: float = 5.0) -> None:
    """Until the controllers have written what they had to write: their Events come long after what they are about."""
    last, since = -1.0, time.monotonic()
    while time.monotonic() - since < seconds:
        now = sum(api.metric("apiserver_request_total", verb=verb) for verb in ("POST", "PATCH", "DELETE"))
        if now != last:
            last, since = now, time.monotonic()
        time.sleep(0.5)


def rolled_out(deployment: Object) -> bool:
    """All its pods are of the present template and available."""
    return settled(deployment)
