"""What is measured, and what it must reach."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from benchmarks.serving import servers
from benchmarks.serving.servers import Server


@dataclass(frozen=True)
class Case:
    name: str
    model: str
    rows: int
    """In each request."""
    connections: int
    targets: Mapping[str, float] = field(default_factory=dict, hash=False)
    """Server → what our rate over its rate must be at least."""
    only: tuple[str, ...] = ()
    """The servers of this case; empty for all that it makes sense for."""

    @property
    def title(self) -> str:
        return f"{self.model}, {self.rows} row{'s' * (self.rows > 1)} x {self.connections} connections"

    def takes(self, server: Server) -> bool:
        if self.only:
            return server.name in self.only
        return self.rows == 1 or not (server.batching or server is servers.MINIMAL)


_ROWS_1024: Final = {
    "naive": 10,
    "kserve": 5,
    "mlserver": 5,
    "mlserver-inline": 5,
    "mlflow": 12,
    "bentoml": 7,
    "ray": 9,
}

ALL: Final = (
    Case(
        "rf-1x8",
        "rf",
        1,
        8,
        {
            "naive": 45,
            "kserve": 50,
            "mlserver": 50,
            "mlserver-inline": 50,
            "mlflow": 55,
            "bentoml": 75,
            "ray": 170,
            "constant": 0.5,
            "ours-minimal": 0.75,
        },
    ),
    Case(
        "lr-1x8",
        "lr",
        1,
        8,
        {
            "naive": 6,
            "kserve": 7,
            "mlserver": 11,
            "mlserver-inline": 11,
            "mlflow": 12,
            "bentoml": 20,
            "ray": 130,
            "constant": 0.4,
            "ours-minimal": 0.75,
        },
    ),
    Case(
        "rf-1x64",
        "rf",
        1,
        64,
        {"constant": 0.65, "mlserver-batching": 8, "bentoml-batching": 8, "ray-batching": 8, "ours-minimal": 0.75},
    ),
    Case("rf-1024x4", "rf", 1024, 4, _ROWS_1024),
    Case("rfh-1024x4", "rfh", 1024, 4),
    Case("svc-1x8", "svc", 1, 8, {"naive": 2.5}, only=("ours", "naive")),
)
