"""Forms that texts must have, as regular expressions and in words: who sends a wrong one is told the words."""

from collections.abc import Mapping
from typing import Any, Final

RUN_ID: Final = r"^[0-9a-f]{32}$"
IDENTITY: Final = r"^(m-)?[0-9a-f]{32}$"
"""Of a run or a logged model."""
MODEL_NAME: Final = r"^[^/:\x00-\x1f\x7f]+$"
MODEL_URI: Final = r"^(runs|models):/[^\x00-\x1f\x7f]+$"
ALIAS: Final = r"^[A-Za-z0-9_-]+$"
VERSION_NUMBER: Final = r"^[1-9][0-9]{0,9}$"
SEMANTIC_VERSION: Final = (
    # semver.org, version 2.0.0, without what makes it remember its groups
    r"^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?(\+[0-9A-Za-z.-]+)?$"
)
KEY_NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
SHA256: Final = r"^[0-9a-f]{64}$"

_WORDS: Final[Mapping[str, str]] = {
    RUN_ID: "must be 32 hexadecimal digits in lower case",
    IDENTITY: "must be 32 hexadecimal digits in lower case, of a run, or m- and 32 of them, of a logged model",
    MODEL_NAME: "must have no '/', no ':' and no control characters",
    MODEL_URI: "must begin with runs:/ or models:/ and have no control characters",
    ALIAS: "must have nothing but letters A to Z, digits, '-' and '_'",
    VERSION_NUMBER: "must be a whole number from 1 on, of ten digits at most",
    SEMANTIC_VERSION: "must be MAJOR.MINOR.PATCH, as in 1.4.0 or 2.0.0-rc.1 (semver.org)",
    KEY_NAME: "must have 1 to 63 letters A to Z, digits, dots, dashes and underscores, the first a letter or digit",
    SHA256: "must be 64 hexadecimal digits in lower case",
}


def message(found: Mapping[str, Any]) -> str:
    """What is wrong, of an error as pydantic describes it."""
    if found["type"] == "string_pattern_mismatch":
        return _WORDS.get(found["ctx"]["pattern"], str(found["msg"]))
    return str(found["msg"])
