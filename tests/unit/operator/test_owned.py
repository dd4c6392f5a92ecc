"""Watching what is owned, kinds that come and go with it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fairlead_operator import owned
from fairlead_operator.groups import Groups
from fairlead_operator.kinds import POD, SCALED_OBJECT, Kind
from fairlead_operator.kube import KubeError, NotFoundError


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owned, "AGAIN_SECONDS", (0.0,))
    monkeypatch.setattr(owned, "PAUSE_SECONDS", 0)


LISTED = "2"
"""The version of every list."""


class Cluster:
    """Streams as the test says; then it waits for ever."""

    def __init__(self, *streams: list[Any]) -> None:
        self.streams = list(streams)
        self.asked: list[str] = []
        self.lists = 0
        self.there: frozenset[str] = frozenset()
        self.twice, self.done = asyncio.Event(), asyncio.Event()

    async def groups(self) -> frozenset[str]:
        return self.there

    async def listed(self, kind: Any, namespace: str) -> str:
        self.lists += 1
        return LISTED

    async def watch(self, kind: Any, namespace: str, since: str) -> AsyncIterator[Any]:
        self.asked.append(since)
        if len(self.asked) == 2:
            self.twice.set()
        if not self.streams:
            self.done.set()
            await asyncio.Event().wait()
        for item in self.streams.pop(0):
            if isinstance(item, Exception):
                raise item
            yield item


def event(kind: str, version: int) -> Any:
    return {"type": kind, "object": {"metadata": {"name": "fraud", "resourceVersion": str(version)}}}


async def seen(
    cluster: Cluster, groups: Groups, kind: Kind = SCALED_OBJECT, since: str = ""
) -> list[tuple[str | None, str]]:
    found: list[tuple[str | None, str]] = []

    def observed(kind: Any, what: str | None, obj: Any) -> None:
        found.append((what, obj["metadata"]["resourceVersion"]))

    task = asyncio.create_task(owned.follow(kind, "", cluster, groups, cluster.listed, observed, since))
    await asyncio.wait_for(cluster.done.wait(), 5)
    task.cancel()
    return found


async def test_a_stream_goes_on_where_the_last_one_ended_and_begins_anew_when_told_to() -> None:
    gone = {"type": "ERROR", "object": {"kind": "Status", "code": 410}}
    cluster = Cluster([event("ADDED", 3), event("BOOKMARK", 7)], [event("MODIFIED", 8)], [gone], [event("ADDED", 9)])
    cluster.there = frozenset({"keda.sh"})
    groups = Groups(cluster)
    await groups.refresh()
    assert await seen(cluster, groups) == [("ADDED", "3"), ("MODIFIED", "8"), ("ADDED", "9")]
    assert cluster.asked == ["2", "7", "8", "2", "9"]
    assert cluster.lists == 2


async def test_a_version_that_is_too_old_to_begin_from_is_no_dead_end() -> None:
    """Most API servers say so in the stream, some in its status."""
    cluster = Cluster([KubeError(410, "too old resource version: 11 (90)")], [event("ADDED", 3)])
    assert await seen(cluster, Groups(cluster), POD, "11") == [("ADDED", "3")]
    assert cluster.asked == ["11", "2", "3"]
    assert cluster.lists == 1


async def test_what_nobody_expected_ends_no_watch(caplog: pytest.LogCaptureFixture) -> None:
    cluster = Cluster([{"type": "ADDED"}], [event("ADDED", 3)])
    assert await seen(cluster, Groups(cluster), POD, "11") == [("ADDED", "3")]
    assert cluster.asked == ["11", "2", "3"]
    (told,) = [record for record in caplog.records if record.exc_info]
    assert told.getMessage() == "pods are not watched, which is tried again"


async def test_nothing_is_asked_while_the_kind_is_away() -> None:
    cluster = Cluster([event("ADDED", 3)], [NotFoundError(404, "gone")], [KubeError(0, "down")], [event("ADDED", 5)])
    groups = Groups(cluster)
    watching = asyncio.create_task(seen(cluster, groups))
    await groups.refresh()
    await asyncio.sleep(0)
    assert cluster.asked == []
    cluster.there = frozenset({"keda.sh"})
    await groups.refresh()
    await cluster.twice.wait()
    for _ in range(10):  # turns of the loop in which it might ask again
        await asyncio.sleep(0)
    assert cluster.asked == ["2", "3"]
    await groups.refresh()
    assert await watching == [("ADDED", "3"), ("ADDED", "5")]
    assert cluster.asked == ["2", "3", "2", "2", "5"]
    assert cluster.lists == 2


async def test_what_every_cluster_has_is_not_looked_for_and_goes_on_from_the_first_list(
    caplog: pytest.LogCaptureFixture,
) -> None:
    down = [KubeError(0, "down")]
    cluster = Cluster(down, down, [NotFoundError(404, "the server is starting")], [event("ADDED", 12)], down)
    assert await seen(cluster, Groups(cluster), POD, "11") == [("ADDED", "12")]
    assert cluster.asked == ["11", "11", "11", "11", "12", "12"]
    assert cluster.lists == 0
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warned == ["pods are not watched, which is tried again: down"] * 2, "once for each outage"
