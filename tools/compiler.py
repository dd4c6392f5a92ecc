"""What `make setup` needs to compile the native kernel: a C compiler, the C library's headers, and Python's.

    python3 -m tools.compiler

Installs what is missing on Debian as root. Elsewhere it says so and goes on: the kernel is optional. Only the standard
library, because there is no virtual environment yet.
"""

import sys
import sysconfig

from tools.localcluster import packages
from tools.localcluster.packages import Package
from tools.localcluster.paths import LocalClusterError

HEADERS = f"{sysconfig.get_path('include')}/Python.h"
COMPILER = (
    Package("gcc", "cc"),
    Package("libc6-dev", file="/usr/include/stdio.h"),
    Package("python3-dev", file=HEADERS),
)


def main() -> int:
    try:
        packages.ensure(COMPILER)
    except LocalClusterError as error:
        print(
            f"setup: the native kernel will not be compiled, so scikit-learn serves all models: {error}",
            file=sys.stderr,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
