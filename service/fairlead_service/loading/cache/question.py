"""Which entry answers a load: one key for each question, asked by an image of one kind.

A key stands for the model as it was asked for, every option that decides whether it may be loaded and how, and every
version that decides what bundle comes of it. So a loader that refuses pickle never finds the bundle of a pickle, and
another image begins with a cache of its own.
"""

import hashlib
import json
import platform
from dataclasses import asdict
from typing import Any, Final

from fairlead_service import native
from fairlead_service.loading import reference, versions
from fairlead_service.loading.loader import LoadOptions
from fairlead_service.models import bundle

ENTRY_FORMAT: Final = 1
_DECISIVE: Final = ("fairlead", "skops", *versions.COMPARED)


def pinned(uri: str, options: LoadOptions) -> bool:
    """Whether the question always has the same answer, so that MLflow need not be asked.

    An alias moves. A version is pinned by its run as well: a registered model that is deleted and made again counts
    from 1 again. Runs and logged models are taken to be finished.
    """
    match reference.parse(uri):
        case reference.RunModel() | reference.LoggedModel():
            return True
        case reference.ModelVersion():
            return options.run_id is not None
        case reference.ModelAlias():
            return False


def key(uri: str, options: LoadOptions, signer: str) -> str:
    """64 hexadecimal digits. `signer` tells keys that entries are signed with apart; "" for none."""
    asked = {
        "uri": reference.written(reference.parse(uri)),
        "options": asdict(options),
        "image": _image(),
        "entry": ENTRY_FORMAT,
        "signer": signer,
    }
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def _image() -> dict[str, Any]:
    from fairlead_service.models.backends.native.program import PROGRAM_FORMAT

    return {
        "bundle": bundle.FORMAT,
        "program": PROGRAM_FORMAT,
        "kernel": native.available(),
        "machine": platform.machine(),
        "versions": versions.installed(_DECISIVE),
    }
