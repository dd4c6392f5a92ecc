"""What once failed, or nearly so, and the fuzzer starts from."""

from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS, one

CORPUS = sorted((Path(__file__).parents[2] / "fuzz" / "corpus").iterdir())


@pytest.mark.parametrize("entry", CORPUS, ids=lambda path: path.name)
def test_an_entry_is_taken_or_refused(entry: Path) -> None:
    one(entry.read_bytes())


def test_each_target_has_an_entry() -> None:
    assert {entry.read_bytes()[0] % len(TARGETS) for entry in CORPUS} == set(range(len(TARGETS)))
