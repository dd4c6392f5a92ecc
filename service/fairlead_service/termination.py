"""A pod's last word: one JSON object in its termination log, which the operator copies to the resource.

The kubelet makes the file; elsewhere there is none, and none is made.
"""

import json
from pathlib import Path
from typing import Final

from fairlead_service.addresses import shown
from fairlead_service.contract import FailureReason

MAX_BYTES: Final = 4096
"""What Kubernetes keeps of a termination message."""


def message(reason: FailureReason, text: str, run_id: str | None = None) -> bytes:
    """`{"reason": …, "message": …}`, with a `run_id` where it is known, in at most 4096 bytes; a longer text loses its
    end, never the JSON's."""
    known, text = {"run_id": run_id} if run_id else {}, shown(text)
    while len(encoded := json.dumps({"reason": reason, "message": text, **known}).encode()) > MAX_BYTES:
        excess = len(encoded) - MAX_BYTES
        text = text[: len(text) - max(1, excess // 12) - 1].rstrip("…") + "…"
    return encoded


def write(path: Path, reason: FailureReason, text: str, run_id: str | None = None) -> bool:
    """Leaves the message at `path`; returns whether there was a file to take it."""
    try:
        with path.open("r+b") as log:
            log.write(message(reason, text, run_id))
            log.truncate()
    except OSError:
        return False
    return True
