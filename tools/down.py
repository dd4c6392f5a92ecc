"""`make down`: takes the cluster of `make up` away, whichever kind it is."""

import subprocess
import sys

from tools.cluster import ROOT, has_kind
from tools.up import KIND_CLUSTER


def main() -> int:
    if has_kind() and KIND_CLUSTER in subprocess.check_output(["kind", "get", "clusters"], text=True).split():
        return subprocess.run(["kind", "delete", "cluster", "--name", KIND_CLUSTER], check=False).returncode
    return subprocess.run([sys.executable, "-m", "tools.localcluster", "down"], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
