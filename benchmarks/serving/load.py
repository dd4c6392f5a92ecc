"""`wrk`, from the client's core: as many requests as the server takes, for some seconds."""

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final

from benchmarks.serving.bench import Running
from benchmarks.serving.paths import BenchError

from tools.localcluster import packages, progress
from tools.localcluster.packages import Package
from tools.localcluster.paths import LocalClusterError

_TIMEOUT_SECONDS: Final = 10
_BODIES: Final = {1: 16, 1024: 4}
"""Rows in a request → how many different requests go round, so that no cache or branch predictor knows them all."""

_SCRIPT: Final = """
local bodies = {%s}
local requests, at = {}, 0
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
function init()
  for number, body in ipairs(bodies) do requests[number] = wrk.format(nil, nil, nil, body) end
end
function request()
  at = at %% #requests + 1
  return requests[at]
end
function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\\n{"requests": %%d, "microseconds": %%d, "p50": %%d, "p99": %%d, ' ..
    '"not 2xx": %%d, "timeout": %%d, "connect": %%d, "read": %%d, "write": %%d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.status, errors.timeout, errors.connect, errors.read, errors.write))
end
"""
_ERRORS: Final = ("not 2xx", "timeout", "connect", "read", "write")


def ensure_tools() -> None:
    """wrk, and taskset to pin with; installed on Debian as root, named elsewhere. Raises BenchError."""
    try:
        packages.ensure([Package("wrk", "wrk"), Package("util-linux", "taskset")], progress.say)
    except LocalClusterError as error:
        raise BenchError(str(error)) from error


def command(running: Running, script: Path, rows: int, connections: int, seconds: float, core: int) -> list[str]:
    """wrk's command line; its script is written to `script`."""
    all_rows = running.model.rows
    starts = range(_BODIES.get(rows, 4))
    bodies = [running.body((all_rows[start:] + all_rows[:start])[:rows]).decode() for start in starts]
    script.write_text(_SCRIPT % ", ".join(f"[==[{body}]==]" for body in bodies))
    wrk = ["wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{max(1, round(seconds))}s"]
    url = f"http://127.0.0.1:{running.port}{running.path(rows)}"
    return ["taskset", "--cpu-list", str(core), *wrk, "--timeout", f"{_TIMEOUT_SECONDS}s", "--script", str(script), url]


def drive(running: Running, rows: int, connections: int, seconds: float, core: int) -> dict[str, Any]:
    """One sample: rate in requests a second, latencies in milliseconds, and errors by kind, if there were any."""
    with tempfile.TemporaryDirectory() as directory:
        line = command(running, Path(directory) / "load.lua", rows, connections, seconds, core)
        done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=seconds + 60)
    return parse(done.stdout, done.stderr)


def parse(output: str, errors: str = "") -> dict[str, Any]:
    """What the script printed at its end."""
    lines = [line for line in output.splitlines() if line.startswith("{")]
    if not lines:
        raise BenchError(f"wrk did not say what it measured:\n{output}{errors}")
    found = json.loads(lines[-1])
    failed = {kind: found[kind] for kind in _ERRORS if found[kind]}
    return {
        "rate": round((found["requests"] - found["not 2xx"]) / found["microseconds"] * 1e6, 2),
        "p50": found["p50"] / 1000,
        "p99": found["p99"] / 1000,
        **({"errors": failed} if failed else {}),
    }
