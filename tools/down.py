"""`make down`: takes the cluster of `make up` away, whichever kind it is."""

import subprocess
import sys

from tools import kind
from tools.cluster import ROOT


def main() -> int:
    if kind.runs():
        return kind.delete()
    return subprocess.run([sys.executable, "-m", "tools.localcluster", "down"], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
