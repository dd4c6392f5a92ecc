from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_service.loading import memory
from fairlead_service.loading.memory import COMPILE, MIB, TAKE

MEASURED = [
    (COMPILE, 0.3, 236), (COMPILE, 10.6, 277), (COMPILE, 52.7, 470), (COMPILE, 157.8, 953), (COMPILE, 165.7, 928),
    (COMPILE, 62.6, 357), (COMPILE, 18.2, 285),  # nearest neighbours, the others are forests
    (TAKE, 0.1, 64), (TAKE, 15.3, 98), (TAKE, 45.9, 165),
]  # fmt: skip
"""(way, file, the loader's peak), MiB, as docs/measurements.md has them."""


@pytest.mark.parametrize(("need", "size", "peak"), MEASURED)
def test_what_was_measured_lies_between(need: memory.Need, size: float, peak: int) -> None:
    taken = memory.estimate(int(size * MIB), need)
    assert taken.least <= peak * MIB <= taken.most


def test_both_sides_and_the_way_out_are_named() -> None:
    assert memory.complaint(1024 * MIB, COMPILE, 1024 * MIB) == (
        True,
        "model has 1024Mi and takes at least 2146Mi to load, this container may use 1024Mi; "
        "give it a memory limit of 4951Mi (spec.resources) or train a smaller model",
    )
    hopeless, said = memory.complaint(100 * MIB, COMPILE, 512 * MIB) or (None, "")
    assert hopeless is False
    assert "takes up to 700Mi to load, this container may use 512Mi" in said


@given(st.integers(0, 2**40), st.sampled_from([COMPILE, TAKE]), st.none() | st.integers(0, 2**40))
def test_more_memory_never_makes_it_worse(size: int, need: memory.Need, limit: int | None) -> None:
    order = {None: 0, False: 1, True: 2}

    def severity(limit: int | None) -> int:
        found = memory.complaint(size, need, limit)
        return order[found[0] if found else None]

    assert severity(None) == 0
    if limit is not None:
        assert severity(limit + MIB) <= severity(limit)
        assert severity(memory.estimate(size, need).most) == 0


@pytest.mark.parametrize(
    ("name", "text", "limit"),
    [
        ("memory.max", "536870912\n", 2**29),
        ("memory.max", "max\n", None),
        ("memory/memory.limit_in_bytes", "1073741824\n", 2**30),
        ("memory/memory.limit_in_bytes", "9223372036854771712\n", None),
        ("other", "1", None),
    ],
)
def test_the_limit_of_either_version_of_control_groups(tmp_path: Path, name: str, text: str, limit: int | None) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    assert memory.limit(tmp_path) == limit
