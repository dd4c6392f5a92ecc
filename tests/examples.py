"""Number of random examples per property, by Hypothesis' profile (tests/conftest.py)."""

from hypothesis import settings

USUAL = 100
"""Examples per property in the profile `fairlead`, where a test does not give its own number."""
EXTENDED = 2000
"""The same in the profile `extended`."""


def examples(count: int) -> int:
    """A test's own number of examples, multiplied in the profile `extended` as all others are."""
    return count * settings().max_examples // USUAL
