"""What the distribution must bring. On Debian, as root, what is missing is installed; elsewhere it is named."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.localcluster import locks, progress
from tools.localcluster.paths import LocalClusterError
from tools.localcluster.progress import Say, run

CNI_DIRECTORIES = (Path("/usr/lib/cni"), Path("/opt/cni/bin"), Path("/usr/libexec/cni"))
LOCK = Path("/run/fairlead-packages.lock")
SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")


@dataclass(frozen=True)
class Package:
    """A Debian package and how to see, on any distribution, that what it brings is there."""

    name: str
    program: str = ""
    """A program on the PATH, or"""
    file: str = ""
    """a file; neither for the CNI plugins, which every distribution has elsewhere."""

    @property
    def there(self) -> bool:
        if self.program:
            return which(self.program) is not None
        return Path(self.file).exists() if self.file else cni_directory() is not None


CLUSTER = (
    Package("conntrack", "conntrack"),
    Package("containerd", "containerd"),
    Package("containernetworking-plugins"),
    Package("iproute2", "ip"),
    Package("iptables", "iptables-save"),
    Package("openssl", "openssl"),
    Package("runc", "runc"),
)
IMAGES = (
    Package("buildah", "buildah"),
    Package("debootstrap", "debootstrap"),
    Package("runc", "runc"),
)
POSTGRESQL = (Package("postgresql", "initdb"),)
REDIS = (Package("redis-server", "redis-server"),)
CHROMIUM = (Package("chromium", "chromium"), Package("chromium-driver", "chromedriver"))


def which(program: str) -> str | None:
    """As shutil.which, and in what a PATH may lack: the sbin directories, and PostgreSQL's own on Debian."""
    postgresql = sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)
    return shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", ""), *SBIN, *postgresql]))


def cni_directory() -> Path | None:
    """Where the distribution puts the CNI plugins."""
    return next((path for path in CNI_DIRECTORIES if (path / "host-local").exists()), None)


def missing(packages: Sequence[Package]) -> list[str]:
    """Names of the packages whose programs are not there."""
    return [package.name for package in packages if not package.there]


def ensure(packages: Sequence[Package], say: Say = progress.say) -> None:
    """Install what is missing, or say what to install."""
    names = missing(packages)
    if not names:
        return
    command = f"apt-get install --no-install-recommends {' '.join(names)}"
    if shutil.which("apt-get") is None:
        raise LocalClusterError(f"missing: {', '.join(names)} (Debian's names). Install them and try again.")
    if os.geteuid() != 0:
        raise LocalClusterError(f"missing: {', '.join(names)}. Install them: sudo {command}")
    waiting = f"waiting for another installation of Debian packages, for {' '.join(names)}"
    with locks.held(LOCK, waiting, say):  # apt fails at once when another one reads the lists
        if names := missing(packages):
            _install(names, say)
    if left := missing(packages):
        raise LocalClusterError(f"`{command}` worked, but these still lack their programs: {', '.join(left)}")


def _install(names: Sequence[str], say: Say) -> None:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "-o", "DPkg::Lock::Timeout=300", "install", "-y", "--no-install-recommends", *names]
    with progress.stage(f"installing Debian packages {' '.join(names)}", say) as update:
        if run(install, env=environment, check=False).returncode:
            update("reading package lists")
            run(["apt-get", "-o", "DPkg::Lock::Timeout=300", "update"], env=environment)
            update("installing")
            run(install, env=environment)
