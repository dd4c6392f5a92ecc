"""Programs that outlive this one: started, found again, stopped.

A process is known by its pid **and** its start time (field 22 of /proc/PID/stat) within one boot, so that a pid which
the kernel has given to someone else meanwhile is never taken for ours, and never killed.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tools.localcluster.certificates import write_private
from tools.localcluster.paths import LocalClusterError

PROC = Path("/proc")
STOP_SECONDS = 10.0


@dataclass(frozen=True)
class Identity:
    """Which process it is, for as long as the machine runs."""

    pid: int
    started: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> Self | None:
        """The living process with this pid; None if there is none, or only its zombie."""
        try:
            stat = (PROC / str(pid) / "stat").read_text()
            boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()
        except (FileNotFoundError, ProcessLookupError):
            return None
        fields = stat.rpartition(")")[2].split()  # the name in brackets may have spaces and brackets
        return None if fields[0] in "ZX" else cls(pid, int(fields[19]), boot)

    @property
    def alive(self) -> bool:
        return Identity.of(self.pid) == self

    def signal(self, number: int) -> bool:
        """Signal exactly this process: the pid file descriptor can't turn into another process between
        look and kill. False if it is gone."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            if not self.alive:
                return False
            signal.pidfd_send_signal(descriptor, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(descriptor)
        return True


def stop(identities: Sequence[Identity], seconds: float = STOP_SECONDS) -> None:
    """Ask all to end, wait, kill what remains, wait."""
    for number, patience in ((signal.SIGTERM, seconds), (signal.SIGKILL, 5.0)):
        left = [one for one in identities if one.signal(number)]
        deadline = time.monotonic() + patience
        while left and time.monotonic() < deadline:
            time.sleep(0.02)
            _reap(left)
            left = [one for one in left if one.alive]
        if not left:
            return
    raise LocalClusterError(f"processes that can't be killed: {[one.pid for one in left]}")


def _reap(identities: Sequence[Identity]) -> None:
    """Our own children stay zombies until someone waits for them."""
    for one in identities:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(one.pid, os.WNOHANG)


@dataclass
class Daemon:
    """One program under a process file; a second object with the same file finds the same process."""

    name: str
    command: Sequence[str | Path]
    run_directory: Path
    log_directory: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    die_with_parent: bool = False
    """Let the kernel kill it when the thread that started it ends (tests, so that a killed pytest leaves nothing)."""

    @property
    def pid_file(self) -> Path:
        return self.run_directory / f"{self.name}.pid"

    @property
    def log(self) -> Path:
        return self.log_directory / f"{self.name}.log"

    @property
    def identity(self) -> Identity | None:
        """The running process, if it is the one that was started."""
        known = read_identity(self.pid_file)
        return known if known is not None and known.alive else None

    def start(self) -> bool:
        """Start it, unless it runs. False if it already ran."""
        if self.identity is not None:
            return False
        self.run_directory.mkdir(parents=True, exist_ok=True)
        self.log_directory.mkdir(parents=True, exist_ok=True)
        command = [str(part) for part in self.command]
        if self.die_with_parent and (setpriv := shutil.which("setpriv")):
            command = [setpriv, "--pdeathsig", "KILL", "--", *command]
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd="/",
                env=_environment() | dict(self.environment),
                start_new_session=True,  # Ctrl-C is for us, not for it
            )
        process.returncode = 0  # it is watched by its identity; silences Popen's ResourceWarning
        identity = Identity.of(process.pid)
        if identity is None:
            raise LocalClusterError(f"{self.name} ended at once:\n{self.tail()}")
        write_private(self.pid_file, json.dumps(vars(identity)))
        return True

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Stop it, if it runs."""
        identity = self.identity
        if identity is not None:
            stop([identity], seconds)
        self.pid_file.unlink(missing_ok=True)

    def check(self) -> None:
        """Raise, with the end of its log, if it is not running."""
        if self.identity is None:
            raise LocalClusterError(f"{self.name} has ended; the end of {self.log}:\n{self.tail()}")

    def tail(self, lines: int = 15) -> str:
        if not self.log.exists():
            return "(no log)"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def read_identity(pid_file: Path) -> Identity | None:
    """What a process file says; None for one that is missing or was cut short."""
    try:
        value = json.loads(pid_file.read_text())
        return Identity(int(value["pid"]), int(value["started"]), str(value["boot"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def find(word: str, programs: Sequence[str]) -> list[Identity]:
    """Living processes of these programs whose command line has this word in it: what a start that was
    killed before it wrote its process file left behind. The word must be a path that only we use."""
    found = []
    for entry in PROC.iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        identity = Identity.of(int(entry.name))  # before the look at the command line, not after
        try:
            arguments = (entry / "cmdline").read_text(errors="replace").split("\0")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        if identity and Path(arguments[0]).name in programs and any(word in argument for argument in arguments[1:]):
            found.append(identity)
    return found


def _environment() -> dict[str, str]:
    """Little: the user's proxy settings or credentials are no business of a cluster. With the sbin directories,
    which a user's PATH may lack."""
    path = os.environ.get("PATH", "")
    return {"PATH": f"{path}:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin", "HOME": "/root"}
