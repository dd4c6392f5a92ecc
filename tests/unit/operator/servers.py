"""A server that swaps models, as far as the operator sees it, and the fates that models have."""

from dataclasses import dataclass, field
from datetime import datetime

from fairlead_operator.api import ModelRef, Reason
from fairlead_operator.reports import FailedLoad, Info, Loading

GOOD, CORRUPT, SLOW, CRASHING = "good", "corrupt", "slow", "crashing"
FLAKY = "flaky"
"""The first load in a running pod fails, and the next does not."""
LOAD_TICKS = 3
"""A load in a running pod takes so long."""


@dataclass
class FakeServer:
    """A predictor as `POST /model/load` leaves it (tests/unit/service/test_hot_swap.py)."""

    serving: ModelRef
    previous: ModelRef | None = None
    loading: ModelRef | None = None
    left: int = 0
    failed: FailedLoad | None = None
    flaked: set[str] = field(default_factory=set)
    answers: bool = True

    def load(self, wanted: ModelRef) -> None:
        if self.loading == wanted:
            return
        self.loading, self.failed = None, None
        if self.previous == wanted:
            self.serving, self.previous = wanted, self.serving
        elif self.serving != wanted:
            self.loading, self.left = wanted, LOAD_TICKS

    def tick(self, fate: str, now: datetime) -> None:
        if self.loading is None or fate == SLOW:
            return
        self.left -= 1
        if self.left > 0:
            return
        wanted, self.loading = self.loading, None
        if fate == CORRUPT:
            self.failed = FailedLoad(wanted.run_id, Reason.MODEL_CORRUPT, "truncated", now)
        elif fate == CRASHING:
            self.failed = FailedLoad(wanted.run_id, Reason.LOAD_FAILED, "exit code 139", now)
        elif fate == FLAKY and wanted.run_id not in self.flaked:
            self.flaked.add(wanted.run_id)
            self.failed = FailedLoad(wanted.run_id, Reason.TRACKING_SERVER_UNAVAILABLE, "no answer", now)
        else:
            self.serving, self.previous = wanted, self.serving

    def restart(self) -> None:
        """Its container alone: what served last serves again."""
        self.previous = self.loading = self.failed = None

    def report(self) -> Info:
        return Info(
            self.serving.run_id,
            self.serving.model_name,
            self.serving.model_version,
            "classification",
            previous=self.previous.run_id if self.previous else None,
            loading=Loading(self.loading.run_id, "fetch") if self.loading else None,
            failed_load=self.failed,
        )
