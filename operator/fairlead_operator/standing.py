"""Whether a child is already what it should be, told from the object alone: so that a process that has just started,
and remembers nothing, need not apply anything to find out. Pure.

Two things together say so. The stamp, an annotation with the digest of the manifest that was applied last: what we set
then is what we would set now, nothing more and nothing less. And every value of the manifest still stands in the
object: nobody has edited it since. What others have added beside it is theirs.
"""

import hashlib
from typing import Any, Final

import orjson

from fairlead_operator.api import APPLIED_ANNOTATION, Manifest

_STAMP_LENGTH: Final = 16


def stamped(manifest: Manifest) -> Manifest:
    """What is applied: the manifest with its own digest among its annotations."""
    metadata = manifest["metadata"]
    annotations = {**metadata.get("annotations", {}), APPLIED_ANNOTATION: digest(manifest)[:_STAMP_LENGTH]}
    return {**manifest, "metadata": {**metadata, "annotations": annotations}}


def stands(live: Manifest, wanted: Manifest) -> bool:
    """Whether `wanted`, stamped, was applied last and still holds. It may say no where an apply would change nothing:
    quantities that the API server writes otherwise (`0.5` is `500m`), lists that others have added to."""
    return bool(_holds(live, wanted))


def _holds(live: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        return isinstance(live, dict) and all(_has(live, key, value) for key, value in wanted.items())
    if isinstance(wanted, list):
        return isinstance(live, list) and len(live) == len(wanted) and all(map(_holds, live, wanted))
    return bool(live == wanted) or (isinstance(live, str) and isinstance(wanted, int) and live == str(wanted))


def _has(live: Manifest, key: str, wanted: Any) -> bool:
    """The API server leaves out what is empty, and booleans that are false unless false and unset differ."""
    if key in live:
        return _holds(live[key], wanted)
    return wanted in ("", [], {}, None) or (key == "readOnly" and wanted is False)


def essence(live: Any, wanted: Any) -> str:
    """Digest of what `live` has where `wanted` says something: what an apply could put right."""
    return digest(_projected(live, wanted))


def _projected(live: Any, wanted: Any) -> Any:
    """Lists are compared whole: which entries are the same is known to the API server alone."""
    if not isinstance(live, dict) or not isinstance(wanted, dict):
        return live
    return {key: _projected(live[key], value) for key, value in wanted.items() if key in live}


def digest(obj: Any) -> str:
    return hashlib.sha256(orjson.dumps(obj, option=orjson.OPT_SORT_KEYS)).hexdigest()
