"""Every state of an object that the API server shows, recorded while a test acts."""

import json
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Recording:
    """States of one object, in the order the API server showed them."""

    states: list[Any] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def read(self, process: "subprocess.Popen[str]") -> None:
        decoder, text = json.JSONDecoder(), ""
        assert process.stdout is not None
        for line in process.stdout:
            text += line
            if line.rstrip() == "}":
                state, _ = decoder.raw_decode(text)
                with self.changed:
                    self.states.append(state)
                    self.changed.notify_all()
                text = ""

    def await_states(self, count: int, timeout: float) -> None:
        """Returns when `count` states were seen, or after `timeout` seconds."""
        with self.changed:
            self.changed.wait_for(lambda: len(self.states) >= count, timeout)

    def await_state(self, accept: Callable[[Any], bool], timeout: float) -> None:
        """Returns when a state that is accepted was seen; AssertionError after `timeout` seconds."""
        with self.changed:
            found = self.changed.wait_for(lambda: any(map(accept, self.states)), timeout)
            assert found, f"after {timeout:.0f} s still: {self.states[-1] if self.states else 'nothing'}"

    def assert_honest(self) -> None:
        """At every instant: a generation that exists, and UpToDate only when the run asked for is the one serving."""
        assert self.states
        for state in self.states:
            status = state.get("status", {})
            conditions = {found["type"]: found["status"] for found in status.get("conditions", [])}
            observed, generation = status.get("observedGeneration", 0), state["metadata"]["generation"]
            assert observed <= generation
            if observed == generation and conditions.get("UpToDate") == "True":
                assert status["serving"]["runID"] == state["spec"]["model"]["runID"], status
            assert not state["metadata"].get("finalizers"), "a finalizer would hang deletion"
            assert not {"Reconciling", "Stalled"} <= conditions.keys()
            assert conditions.get("Reconciling", "True") == conditions.get("Stalled", "True") == "True"

    def ready(self) -> set[str]:
        """All values that the Ready condition had."""
        return {
            found["status"]
            for state in self.states
            for found in state.get("status", {}).get("conditions", [])
            if found["type"] == "Ready"
        }
