"""`make run`: MLflow and the API as two local processes, no cluster.

All state is under `.fairlead/`: MLflow's database and artifacts in `mlflow/`, the API's bundles in `api/`, logs in
`run/`.
"""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tools import ports

STATE = Path(".fairlead")
LOGS = STATE / "run"
START_TIMEOUT_SECONDS = 90
STOP_TIMEOUT_SECONDS = 20


class RunError(Exception):
    """Something the person at the terminal has to change; the message says what."""


@dataclass(frozen=True)
class Program:
    """Its socket listens before it starts, so that no other program can take its port meanwhile, and for as long as we
    run. `as_input`: it finds the socket at its standard input, as inetd's programs do; else by the variable
    FAIRLEAD_LISTEN_FD."""

    name: str
    command: list[str]
    environment: Mapping[str, str]
    socket: socket.socket
    as_input: bool = False

    @property
    def url(self) -> str:
        host, port = self.socket.getsockname()
        return f"http://{host}:{port}"

    @property
    def log(self) -> Path:
        return LOGS / f"{self.name}.log"


def port_setting(variable: str, default: int) -> int:
    """Reads a port from the environment; raises RunError if it is not one."""
    text = os.environ.get(variable, str(default))
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65536:
        raise RunError(f"{variable} must be a port from 1 to 65535, not {text!r}")
    return int(text)


def listen(port: int, variable: str) -> socket.socket:
    """Raises RunError if something listens on the port already."""
    try:
        return ports.listen(port)
    except OSError as error:
        detail = f"port {port} is taken ({error.strerror}); choose another: make run {variable}={port + 1}"
        raise RunError(detail) from None


def programs(api: socket.socket, tracking: socket.socket) -> list[Program]:
    """The two programs, in the order they start, with the sockets of the API and of MLflow."""
    mlflow_url = f"http://127.0.0.1:{tracking.getsockname()[1]}"
    mlflow_home = (STATE / "mlflow").absolute()
    binaries = Path(sys.executable).parent
    mlflow = [
        str(binaries / "mlflow"), "server", "--uvicorn-opts", "--fd 0", "--workers", "1",
        "--backend-store-uri", f"sqlite:///{mlflow_home}/mlflow.db",
        "--artifacts-destination", str(mlflow_home / "artifacts"),
    ]  # fmt: skip
    return [
        Program(
            "mlflow",
            mlflow,
            {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"},
            tracking,
            as_input=True,
        ),
        Program(
            "api",
            [sys.executable, "-m", "fairlead_service"],
            {
                "FAIRLEAD_ROLE": "api",
                "FAIRLEAD_DRAIN_SECONDS": "0",
                "FAIRLEAD_DATA_DIR": str((STATE / "api").absolute()),
                "MLFLOW_TRACKING_URI": mlflow_url,
            },
            api,
        ),
    ]


def start(program: Program) -> subprocess.Popen[bytes]:
    """Starts one program in a session of its own, so that Ctrl-C reaches it only through us, in order."""
    descriptor = program.socket.fileno()
    handed = {} if program.as_input else {"FAIRLEAD_LISTEN_FD": str(descriptor)}
    with program.log.open("wb") as log:
        return subprocess.Popen(
            program.command,
            env={**os.environ, **program.environment, **handed},
            stdin=descriptor if program.as_input else subprocess.DEVNULL,
            pass_fds=[] if program.as_input else [descriptor],
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def answers(url: str) -> bool:
    """Whether a GET of url is answered with 2xx within two seconds."""
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except OSError:
        return False


def await_health(program: Program, process: subprocess.Popen[bytes], stopping: Callable[[], bool]) -> None:
    """Returns when the program answers; raises RunError with the end of its log if it ends or takes too long."""
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while not answers(f"{program.url}/health"):
        if stopping():
            raise KeyboardInterrupt
        if process.poll() is not None:
            raise RunError(f"{program.name} ended with code {process.returncode}; {program.log} ends:\n{tail(program)}")
        if time.monotonic() > deadline:
            raise RunError(
                f"{program.name} did not answer in {START_TIMEOUT_SECONDS} s; {program.log} ends:\n{tail(program)}"
            )
        time.sleep(0.1)


def tail(program: Program, lines: int = 15) -> str:
    return "\n".join("  " + line for line in program.log.read_text(errors="replace").splitlines()[-lines:])


def stop(name: str, process: subprocess.Popen[bytes]) -> None:
    """Ends a program and everything it started."""
    if process.poll() is None:
        print(f"run: stopping {name}")
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            print(f"run: {name} did not stop in {STOP_TIMEOUT_SECONDS} s and is killed")
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


def signalled() -> Callable[[], bool]:
    """From now on signals that end programs do no more than make this true. A handler that took a lock, as an Event's
    does, could wait for ever for the code that it interrupts."""
    got: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda which, _: got.append(which))
    return lambda: bool(got)


def serve(api: socket.socket, tracking: socket.socket) -> int:
    """Runs both programs until a signal or until one of them ends; returns the exit code."""
    stopping = signalled()
    running: list[tuple[Program, subprocess.Popen[bytes]]] = []
    try:
        for program in programs(api, tracking):
            print(f"run: starting {program.name}, log in {program.log}")
            running.append((program, start(program)))
            await_health(program, running[-1][1], stopping)
        print_urls(*(program.url for program, _ in running))
        while not stopping():
            for program, process in running:
                if process.poll() is not None:
                    raise RunError(
                        f"{program.name} ended with code {process.returncode}; {program.log} ends:\n{tail(program)}"
                    )
            time.sleep(0.2)
    except KeyboardInterrupt:
        pass
    finally:
        for program, process in reversed(running):
            stop(program.name, process)
    return 0


def print_urls(mlflow: str, api: str) -> None:
    print(
        f"""
  API      {api}       (try it: {api}/docs)
  MLflow   {mlflow}

  In another terminal: .venv/bin/python examples/train_example.py --url {api}
  Ctrl-C stops both.
""",
        flush=True,
    )


def prepare() -> tuple[socket.socket, socket.socket]:
    """The sockets of API and MLflow, and the directories of both. Raises RunError."""
    api_port, mlflow_port = port_setting("API_PORT", 8000), port_setting("MLFLOW_PORT", 5000)
    if api_port == mlflow_port:
        raise RunError(f"API_PORT and MLFLOW_PORT are both {api_port}; they must differ")
    api, tracking = listen(api_port, "API_PORT"), listen(mlflow_port, "MLFLOW_PORT")
    for directory in (LOGS, STATE / "mlflow", STATE / "api"):
        directory.mkdir(parents=True, exist_ok=True)
    return api, tracking


def main() -> int:
    try:
        return serve(*prepare())
    except RunError as error:
        print(f"run: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
