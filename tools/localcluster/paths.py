"""Where things are: what belongs to the checkout, to the user's cache, and to the machine."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CHECKOUT: Final = Path(__file__).resolve().parents[2]
MODULES: Final = Path(__file__).resolve().parent / "modules"

MACHINE: Final = Path("/run/fairlead-localcluster")
"""What only one cluster a machine can have: who owns it, process files, containerd's socket (short paths, too:
a Unix socket's name has at most 107 bytes)."""


class LocalClusterError(Exception):
    """Something the user can mend; the message says what is wrong and how."""


def cache() -> Path:
    """The user's cache, outside the checkout, so that a fresh clone finds what another one built."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "fairlead"


@dataclass(frozen=True)
class Checkout:
    """The files of one checkout's cluster, all under `.fairlead/`, which git ignores."""

    root: Path = CHECKOUT

    @property
    def kubeconfig(self) -> Path:
        return self.root / ".fairlead" / "kubeconfig"

    @property
    def bin(self) -> Path:
        """Links to the built programs, for people's PATH."""
        return self.root / ".fairlead" / "bin"

    @property
    def state(self) -> Path:
        return self.root / ".fairlead" / "cluster"

    @property
    def images(self) -> Path:
        """containerd's content and snapshots: kept by `down`, so that images need not be loaded again."""
        return self.state / "containerd"
