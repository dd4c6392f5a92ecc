"""What is known of all ModelDeployments together, for the metrics: which have something wrong, how many roll out, how
many pods there are.

The store keeps it up to date, from the objects that it takes in; the metrics' own thread reads it.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from fairlead_operator.api import Manifest, Reason
from fairlead_operator.kinds import MODEL_DEPLOYMENT, POD, Kind

WRONG: Final = {
    "Ready": "False",
    "ModelResolved": "False",
    "UpToDate": "False",
    "Stalled": "True",
    "Autoscaled": "False",
    "DataDrift": "True",
}
"""Conditions, and what they say when something may be wrong."""
REASONS: Final = frozenset(Reason)


Place = tuple[str, str]
"""Namespace and name."""


class Problem(NamedTuple):
    condition: str
    reason: str
    """One of `api.Reason`."""


class Census:
    """Changed by the event loop's thread alone; `problems` is replaced and never changed, so any thread may read it."""

    def __init__(self) -> None:
        self.problems: Mapping[Place, tuple[Problem, ...]] = MappingProxyType({})
        """Of the ModelDeployments that have any."""
        self._rolling: set[Place] = set()
        self._pods: set[Place] = set()

    @property
    def rolling(self) -> int:
        """ModelDeployments with a candidate."""
        return len(self._rolling)

    @property
    def pods(self) -> int:
        """Pods whose containers are ready, admitted to users' requests or not."""
        return len(self._pods)

    def note(self, kind: Kind, obj: Manifest) -> None:
        """Takes in an object as it is stored."""
        place, status = (obj["metadata"]["namespace"], obj["metadata"]["name"]), obj.get("status") or {}
        if kind is MODEL_DEPLOYMENT:
            _keep(self._rolling, place, bool(status.get("candidate")))
            self._know(place, problems(obj))
        elif kind is POD:
            conditions = {found["type"]: found["status"] for found in status.get("conditions", [])}
            _keep(self._pods, place, conditions.get("ContainersReady") == "True")

    def forget(self, kind: Kind, place: Place) -> None:
        if kind is MODEL_DEPLOYMENT:
            self._rolling.discard(place)
            self._know(place, ())
        elif kind is POD:
            self._pods.discard(place)

    def _know(self, place: Place, found: tuple[Problem, ...]) -> None:
        if found == self.problems.get(place, ()):
            return
        others = {known: value for known, value in self.problems.items() if known != place}
        self.problems = MappingProxyType(others | {place: found} if found else others)


def problems(obj: Manifest) -> tuple[Problem, ...]:
    """What is wrong with a ModelDeployment, by its conditions. A roll-out that goes on is not, nor are pods that nobody
    wants, nor an update that waits for approval."""
    conditions = {found["type"]: found for found in (obj.get("status") or {}).get("conditions", [])}
    wrong = {kind for kind, status in WRONG.items() if conditions.get(kind, {}).get("status") == status}
    if conditions.get("Ready", {}).get("reason") == Reason.SCALED_TO_ZERO:
        wrong -= {"Ready"}
    if "Stalled" not in wrong and conditions.get("UpToDate", {}).get("reason") != Reason.ANALYSIS_UNAVAILABLE:
        wrong -= {"UpToDate"}
    if wrong & {"UpToDate", "Autoscaled"}:
        wrong -= {"Stalled"}  # which says the same once more
    found = (Problem(kind, str(conditions[kind].get("reason"))) for kind in WRONG if kind in wrong)
    return tuple(problem for problem in found if problem.reason in REASONS)


def _keep(places: set[Place], place: Place, belongs: bool) -> None:
    (places.add if belongs else places.discard)(place)
