"""A child process that does as its first argument says, with the arguments of a real one after it.

Needs nothing but the standard library, so it starts quickly.
"""

import json
import os
import shutil
import signal
import subprocess
import sys


def say(**message: object) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def option(name: str) -> str:
    return sys.argv[sys.argv.index(name) + 1]


def succeed(source: str, value: str = "{}") -> None:
    """Copies a finished bundle to where the server wants one."""
    say(kind="progress", stage="fetch", message="")
    shutil.copytree(source, option("--bundle"))
    say(kind="result", value=json.loads(value))


def succeed_by_run(directory: str) -> None:
    """As `succeed`, from `directory/RUN`."""
    succeed(f"{directory}/{option('--run-id')}")


def succeed_from_a_cache(outcome: str, source: str) -> None:
    """As `succeed`, having asked a bundle cache."""
    say(kind="progress", stage="cache", message="what became of it", cache=outcome)
    succeed(source)


def succeed_by_run_from_a_cache(outcome: str, directory: str) -> None:
    """As `succeed_by_run`; what became of the request to the cache is in the file `outcome`."""
    with open(outcome) as file:
        succeed_from_a_cache(file.read(), f"{directory}/{option('--run-id')}")


def wait_then_succeed(fifo: str, source: str, value: str = "{}") -> None:
    """As `succeed`, once somebody has opened the fifo for writing and closed it."""
    with open(fifo) as file:
        file.read()
    succeed(source, value)


def fail(reason: str, message: str, where: str = "") -> None:
    say(kind="failure", reason=reason, message=message, **({"where": where} if where else {}))
    sys.exit(1)


def answer(value: str) -> None:
    say(kind="result", value=json.loads(value))


def crash(code: str) -> None:
    sys.stderr.write("Traceback (most recent call last):\nMemoryError: no room for the data\n")
    sys.exit(int(code))


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hang(fifo: str, stubborn: str = "") -> None:
    """Starts a grandchild, says both process ids through the fifo, and waits for ever."""
    if stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    grandchild = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    with open(fifo, "w") as file:
        file.write(f"{os.getpid()} {grandchild.pid}")
    while True:
        signal.pause()


def say_then_hang(fifo: str, progress: str) -> None:
    """One line of progress; once somebody reads the fifo, it waits for ever."""
    if progress != "{}":
        say(kind="progress", **json.loads(progress))
    with open(fifo, "w") as file:
        file.write("said")
    while True:
        signal.pause()


def note(path: str) -> None:
    """Leaves what comes after its own arguments in a file."""
    with open(f"{path}.part", "w") as file:
        file.write(" ".join(sys.argv[sys.argv.index("--") + 1 :]))
    os.replace(f"{path}.part", path)
    say(kind="result", value={})


def babble() -> None:
    """Writes what is no message, to both outputs, more than a pipe holds."""
    sys.stdout.write("not a message\n{}\n" + "x" * 100 + "\n")
    sys.stderr.write("y" * 300_000)
    say(kind="result", value={"said": "enough"})


def endless_line() -> None:
    sys.stdout.write("z" * (9 * 2**20))
    sys.stdout.flush()


def environment() -> None:
    names = ("MLFLOW_TRACKING_URI", "TRACEPARENT")
    value = {name: os.environ.get(name) for name in names} | {"nice": os.getpriority(os.PRIO_PROCESS, 0)}
    say(kind="result", value=value)


def large() -> None:
    """Asks for 1 GiB."""
    bytearray(2**30)
    say(kind="result", value={})


if __name__ == "__main__":
    own = sys.argv[2 : sys.argv.index("--") if "--" in sys.argv else None]
    globals()[sys.argv[1]](*own)
