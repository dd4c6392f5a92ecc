"""Lines that tell a person, or a CI log, what is going on and for how long."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tools.localcluster.paths import LocalClusterError

Say = Callable[[str], None]

HEARTBEAT_SECONDS = 15


def say(message: str) -> None:
    """Print to stderr: stdout is for what another program reads."""
    print(message, file=sys.stderr, flush=True)


def silent(message: str) -> None:
    """For callers that want no lines."""


@contextmanager
def stage(name: str, say: Say, state: Callable[[], str] = str) -> Iterator[Callable[[str], None]]:
    """Announce a stage, repeat its state every 15 seconds, say at the end how long it took.

    Gives a function that sets the detail shown by the next heartbeat. Where there is none, `state()` is shown.
    """
    began = time.monotonic()
    over = threading.Event()
    detail = [""]

    def beat() -> None:
        while not over.wait(HEARTBEAT_SECONDS):
            shown = detail[0] or state()
            say(f"{name}: {time.monotonic() - began:.0f} s{shown and ', ' + shown} …")

    def update(text: str) -> None:
        detail[0] = text

    say(f"{name} …")
    threading.Thread(target=beat, daemon=True).start()
    try:
        yield update
    except BaseException:
        say(f"{name}: failed after {time.monotonic() - began:.1f} s")
        raise
    finally:
        over.set()
    say(f"{name}: done in {time.monotonic() - began:.1f} s")


def run(
    command: Sequence[str | Path],
    *,
    check: bool = True,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float | None = 600,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; a failure carries its command and the end of its output."""
    try:
        done = subprocess.run(
            [str(part) for part in command],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            check=False,
            env=None if env is None else dict(env),
            cwd=cwd,
            timeout=timeout,
        )
    except FileNotFoundError as error:
        raise LocalClusterError(f"{command[0]}: no such program") from error
    except subprocess.TimeoutExpired as error:
        raise LocalClusterError(f"`{' '.join(map(str, command))}` did not end in {timeout:.0f} s") from error
    if check and done.returncode:
        tail = "\n".join((done.stderr + done.stdout).strip().splitlines()[-20:])
        raise LocalClusterError(f"`{' '.join(map(str, command))}` failed with code {done.returncode}:\n{tail}")
    return done
