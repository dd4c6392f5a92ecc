"""Rounds with pods: told first, asked then, one at a time, and a pod that hangs holds nobody up."""

import asyncio
from dataclasses import dataclass, field

import pytest

from fairlead_operator import interviews
from fairlead_operator.api import ModelRef
from fairlead_operator.desired.access import Contact
from fairlead_operator.hotswap import Listener, Load, Round
from fairlead_operator.interviews import Interviews
from fairlead_operator.pods import AnswerError, UnreachableError
from fairlead_operator.reports import Info
from fairlead_operator.store import Key
from tests.unit.operator.samples import NOW, RUNS, model

KEY, OTHER = Key("ml", "fraud"), Key("ml", "churn")
OLD, NEW = model(RUNS[0]), model(RUNS[1])


@dataclass
class Servers:
    """Pods that serve OLD until they are told otherwise."""

    heard: list[tuple[str, str]] = field(default_factory=list)
    serving: dict[str, str] = field(default_factory=dict)
    trouble: dict[str, Exception] = field(default_factory=dict)
    """What asking or telling them raises."""
    hang: set[str] = field(default_factory=set)
    open: asyncio.Event = field(default_factory=asyncio.Event)
    """Until then nobody answers."""

    async def info(self, ip: str, contact: Contact) -> Info:
        await self._say("info", ip)
        return Info(self.serving.get(ip, OLD.run_id), None, None, "classification")

    async def load(self, ip: str, model: ModelRef, contact: Contact) -> None:
        await self._say(f"load {model.run_id[0]} {contact.token}", ip)
        self.serving[ip] = model.run_id

    async def _say(self, what: str, ip: str) -> None:
        self.heard.append((what, ip))
        await self.open.wait()
        if ip in self.hang:
            await asyncio.Event().wait()
        if error := self.trouble.get(f"{what.split()[0]} {ip}"):
            raise error


class World:
    def __init__(self) -> None:
        self.servers, self.woken = Servers(), asyncio.Queue[Key]()
        self.servers.open.set()
        self.interviews = Interviews(self.servers, lambda: NOW.replace(microsecond=5), self.woken.put_nowait)

    async def hold(self, what: Round) -> None:
        self.interviews.begin(KEY, what)
        assert await asyncio.wait_for(self.woken.get(), 10) == KEY

    def said(self) -> dict[str, str | None]:
        return {pod: report.info and report.info.run_id for pod, report in self.interviews.reports(KEY).items()}


def listeners(*numbers: int) -> tuple[Listener, ...]:
    return tuple(Listener(f"fraud-{number}", f"10.0.0.{number}", restarts=number) for number in numbers)


def asking(*numbers: int, loads: tuple[Load, ...] = ()) -> Round:
    pods = listeners(*numbers)
    return Round(pods, frozenset(pod.name for pod in pods), loads, Contact("t0ken"))


TELL = (Load("fraud-1", "10.0.0.1", NEW),)


async def test_a_pod_is_told_first_and_asked_then() -> None:
    world = World()
    await world.hold(asking(1, 2, loads=TELL))
    assert world.said() == {"fraud-1": NEW.run_id, "fraud-2": OLD.run_id}
    assert [what for what, ip in world.servers.heard if ip == "10.0.0.1"] == ["load b t0ken", "info"]
    first, second = (world.interviews.reports(KEY)[f"fraud-{number}"] for number in (1, 2))
    assert (first.told, first.restarts, first.at, first.trouble) == (NEW, 1, NOW, "")
    assert second.told is None
    assert world.interviews.reports(OTHER) == {}


async def test_what_a_pod_said_before_it_was_told_something_is_forgotten_at_once() -> None:
    world = World()
    await world.hold(asking(1, 2))
    world.servers.open.clear()
    world.interviews.begin(KEY, asking(1, 2, loads=TELL))
    assert world.said() == {"fraud-2": OLD.run_id}
    world.servers.open.set()
    await world.woken.get()
    assert world.said()["fraud-1"] == NEW.run_id


async def test_one_round_at_a_time() -> None:
    world = World()
    world.servers.open.clear()
    world.interviews.begin(KEY, asking(1))
    world.interviews.begin(KEY, asking(1, loads=TELL))
    world.servers.open.set()
    await world.woken.get()
    assert world.servers.heard == [("info", "10.0.0.1")]
    await world.hold(asking(1, loads=TELL))
    assert world.said() == {"fraud-1": NEW.run_id}


async def test_only_those_are_asked_who_should_be_and_pods_that_are_gone_are_forgotten() -> None:
    world = World()
    await world.hold(asking(1, 2, 3))
    world.servers.serving = {"10.0.0.2": NEW.run_id, "10.0.0.3": NEW.run_id}
    await world.hold(Round(listeners(2, 3), frozenset({"fraud-3"})))
    assert world.said() == {"fraud-2": OLD.run_id, "fraud-3": NEW.run_id}


async def test_who_refuses_or_is_silent_is_reported_with_the_reason(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.servers.trouble = {
        "load 10.0.0.1": AnswerError(401, "unauthorized", "send the token"),
        "info 10.0.0.2": UnreachableError("no route to host"),
        "info 10.0.0.3": ValueError("a bug"),
    }
    await world.hold(asking(1, 2, 3, loads=TELL))
    found = world.interviews.reports(KEY)
    assert world.said() == {"fraud-1": OLD.run_id, "fraud-2": None, "fraud-3": None}
    assert found["fraud-1"].trouble == "401 unauthorized: send the token"
    assert found["fraud-2"].trouble == "no route to host"
    assert "log says why" in found["fraud-3"].trouble
    assert "a bug" in caplog.text


async def test_a_pod_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interviews, "SECONDS", 0.05)
    world = World()
    world.servers.hang = {"10.0.0.1"}
    await world.hold(asking(1, 2))
    assert world.said() == {"fraud-1": None, "fraud-2": OLD.run_id}
    assert "no answer within" in world.interviews.reports(KEY)["fraud-1"].trouble


async def test_a_round_that_is_forgotten_wakes_nobody() -> None:
    world = World()
    world.servers.open.clear()
    world.interviews.begin(KEY, asking(1))
    await asyncio.sleep(0)
    world.interviews.forget(KEY)
    world.servers.open.set()
    await world.hold(asking(2))
    assert world.woken.empty()
    assert world.said() == {"fraud-2": OLD.run_id}


async def test_closing_ends_what_is_under_way() -> None:
    world = World()
    world.servers.open.clear()
    world.interviews.begin(KEY, asking(1))
    await asyncio.wait_for(world.interviews.close(), 10)
    assert world.said() == {}
    assert world.woken.empty()
