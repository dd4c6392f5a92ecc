"""What the compilers of the parts of a model give back, and where they put their arrays."""

from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from fairlead_service.models.backends.native.program import Estimator, Output, Program
from fairlead_service.models.backends.native.record import ArrayName


@dataclass(frozen=True, slots=True)
class NotCompiled:
    """The native backend cannot repeat this model; `reason` is a sentence for people, without a full stop."""

    reason: str


@dataclass(frozen=True, slots=True)
class Compiled:
    """A whole model: what `program.encode` takes."""

    program: Program
    arrays: dict[ArrayName, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class CompiledEstimator:
    """The last part of a model; its arrays are in the `Names` it was compiled with."""

    estimator: Estimator
    output: Output


@dataclass(frozen=True, slots=True)
class Names:
    """Collects the arrays of one program, each under a name of its own."""

    arrays: dict[ArrayName, NDArray[Any]] = field(default_factory=dict)

    def put(self, name: str, array: NDArray[Any]) -> ArrayName:
        """Keeps the array and returns its name: `name`, or `name.2`, `name.3`, … if that is taken."""
        unique, count = name, 1
        while unique in self.arrays:
            count += 1
            unique = f"{name}.{count}"
        self.arrays[unique] = array
        return unique
