"""`make dev`: what `make run` starts, and the API anew whenever a file of the service is saved.

The API is started as in production, with its own sockets and signals; a reloader inside uvicorn would need another
way in. One that does not start is no end: its log is shown, and the next save is tried.
"""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tools import run

SOURCES = Path("service/fairlead_service")
LOOK_SECONDS = 0.5

Seen = Mapping[Path, int]


def look(directory: Path) -> Seen:
    """Modification times of all Python files below, in nanoseconds."""
    seen: dict[Path, int] = {}
    for path in directory.rglob("*.py"):
        try:
            seen[path] = path.stat().st_mtime_ns
        except FileNotFoundError:  # an editor replaces it just now
            continue
    return seen


def changed(before: Seen, after: Seen) -> list[Path]:
    """Files that came, went or were written."""
    return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))


def looks(directory: Path, seen: Seen, stopping: Callable[[], bool]) -> Iterator[list[Path]]:
    """Every half a second until `stopping()`: the files that changed since `seen`, or since the last look."""
    while not stopping():
        time.sleep(LOOK_SECONDS)
        now = look(directory)
        yield changed(seen, now)
        seen = now


def start_api(api: run.Program, stopping: Callable[[], bool]) -> "subprocess.Popen[bytes]":
    process = run.start(api)
    try:
        run.await_health(api, process, stopping)
        print(f"dev: api answers, log in {api.log}", flush=True)
    except run.RunError as error:
        print(f"dev: {error}\ndev: save a file to try again", flush=True)
    return process


def serve(api_socket: socket.socket, tracking: socket.socket, stopping: Callable[[], bool]) -> None:
    """Until `stopping()`. Raises RunError if MLflow does not start."""
    mlflow, api = run.programs(api_socket, tracking)
    running = {mlflow.name: run.start(mlflow)}
    try:
        run.await_health(mlflow, running[mlflow.name], stopping)
        seen = look(SOURCES)
        running[api.name] = start_api(api, stopping)
        print(f"dev: {api.url}/docs; save a file below {SOURCES} to restart the API", flush=True)
        for files in looks(SOURCES, seen, stopping):
            if files:
                print(f"dev: {files[0]} changed", flush=True)
                run.stop(api.name, running[api.name])
                running[api.name] = start_api(api, stopping)
    except KeyboardInterrupt:
        pass
    finally:
        for name, process in reversed(running.items()):
            run.stop(name, process)


def main() -> int:
    stopping = run.signalled()
    try:
        serve(*run.prepare(), stopping)
    except run.RunError as error:
        print(f"dev: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
