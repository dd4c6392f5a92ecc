"""The two programs agree on what crosses between them, without importing each other."""

from enum import EnumType
from types import ModuleType
from typing import Any

import fairlead_operator.contract as operator_side
import fairlead_service.contract as service_side


def _constants(module: ModuleType) -> dict[str, Any]:
    found = {}
    for name, value in vars(module).items():
        if name.isupper():
            found[name] = frozenset(str(item) for item in value) if isinstance(value, frozenset) else value
        elif isinstance(value, EnumType) and value.__module__ == module.__name__:
            found[name] = {item.name: item.value for item in value}
    return found


def test_both_sides_say_the_same() -> None:
    ours, theirs = _constants(operator_side), _constants(service_side)

    assert {name: ours[name] for name in ours if name in theirs} == {
        name: theirs[name] for name in theirs if name in ours
    }


def test_the_operator_relies_on_nothing_the_service_does_not_offer() -> None:
    assert set(_constants(operator_side)) <= set(_constants(service_side))
