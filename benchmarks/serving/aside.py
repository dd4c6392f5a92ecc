"""What rates do not show: start and memory, latency at half load, health checks under load, memory over time."""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final

from benchmarks.serving import load, models, servers
from benchmarks.serving.bench import Bench, Running, started
from benchmarks.serving.paths import ROOT, BenchError
from benchmarks.serving.rates import Plan
from benchmarks.serving.servers import Server

_HEALTH_RATE: Final = 50
_CONNECTIONS: Final = 8
_MEMORY_STEP_SECONDS: Final = 10
_HEALTH_PATH: Final = "/health/live"


def start(bench: Bench, plan: Plan) -> list[dict[str, Any]]:
    """Seconds from the start of the process to its first answered row, and MiB one second after."""
    rows = []
    for name, server in (("rf", servers.OURS), ("rf", servers.NAIVE), ("svc", servers.OURS), ("svc", servers.NAIVE)):
        model, seconds, memory = models.saved(name), [], []
        for number in range(plan.rounds + 1):  # the first fills the page cache and writes .pyc files
            began = time.perf_counter()
            with started(bench, server, model) as running:
                took = time.perf_counter() - began
                time.sleep(1)
                if number:
                    seconds.append(took)
                    memory.append(running.process.memory())
        rss, pss = (statistics.median(sizes) for sizes in zip(*memory, strict=True))
        row = {
            "server": server.name,
            "model": name,
            "backend": _backend(server, model),
            "seconds": round(statistics.median(seconds), 3),
            "rss": round(rss, 1),
            "pss": round(pss, 1),
        }
        print(f"start  {server.name:<6} {name:<4} {row['seconds']:.2f} s  {row['rss']:.0f} MiB", flush=True)
        rows.append(row)
    return rows


def half_load(bench: Bench, plan: Plan) -> list[dict[str, Any]]:
    """p50 and p99 of rf, one row, at half of the rate a server reaches; ours at the naive one's half as well."""
    model = models.saved("rf")
    samples: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for _ in range(plan.rounds):
        half: dict[str, float] = {}
        for server in (servers.NAIVE, servers.OURS):
            with started(bench, server, model) as running:
                load.drive(running, 1, _CONNECTIONS, plan.first_warm_up, bench.client_core)
                full = load.drive(running, 1, _CONNECTIONS, plan.seconds, bench.client_core)["rate"]
                half[server.name] = full / 2
                for whose, rate in half.items():
                    if whose != server.name and server is not servers.OURS:
                        continue
                    sample = paced(running, bench, rate=rate, seconds=plan.seconds, body=running.body(model.rows[:1]))
                    samples.setdefault((server.name, whose), []).append({"rate": rate, **sample})
                    print(f"half load  {server.name:<6} {_paced_shown(sample)} at {rate:.0f} req/s", flush=True)
    return [{"server": name, "half_of": whose, **_medians(many)} for (name, whose), many in samples.items()]


def health(bench: Bench, plan: Plan) -> list[dict[str, Any]]:
    """Latency of the liveness probe, alone and while four clients send 1024 rows at a time."""
    rows = []
    for name, server in (("rf", servers.OURS), ("rf", servers.NAIVE), ("svc", servers.OURS), ("svc", servers.NAIVE)):
        model = models.saved(name)
        with started(bench, server, model) as running:
            for loaded in (False, True):
                seconds = 4 * plan.seconds  # for enough probes to have a p99
                with _background(running, bench, seconds + 2) if loaded else nullcontext():
                    sample = paced(running, bench, rate=_HEALTH_RATE, seconds=seconds, path=_HEALTH_PATH, connections=4)
                print(
                    f"health  {server.name:<6} {name:<4} {'loaded' if loaded else 'idle':<6} {_paced_shown(sample)}",
                    flush=True,
                )
                what = {"server": server.name, "model": name, "backend": _backend(server, model), "loaded": loaded}
                rows.append({**what, **_medians([sample])})
    return rows


def memory(bench: Bench, minutes: float) -> dict[str, Any]:
    """MiB of our server during minutes of load: single rows, and every fourth time batches, 10 s each."""
    samples: list[tuple[float, float]] = []
    with started(bench, servers.OURS, models.saved("rf")) as running:
        began = time.monotonic()
        while (elapsed := time.monotonic() - began) < 60 * minutes:
            rows = 1024 if len(samples) % 4 == 3 else 1
            sample = load.drive(running, rows, _CONNECTIONS, _MEMORY_STEP_SECONDS, bench.client_core)
            elapsed = time.monotonic() - began
            samples.append((round(elapsed / 60, 2), round(running.process.memory()[0], 1)))
            if "errors" in sample:
                raise BenchError(f"errors during the load: {sample['errors']}\n{running.process.tail()}")
            print(
                f"memory  {samples[-1][0]:>5.1f} min  {samples[-1][1]:.1f} MiB  {sample['rate']:.0f} req/s", flush=True
            )
    settled = samples[len(samples) // 5 :]  # the first fifth fills caches and arenas
    slope = statistics.linear_regression(*zip(*settled, strict=True)).slope if len(settled) > 1 else 0.0
    found = {"minutes": minutes, "start": settled[0][1], "end": settled[-1][1], "slope": round(slope, 3)}
    print(f"memory  from {found['start']} to {found['end']} MiB, {found['slope']:+} MiB/min", flush=True)
    return {**found, "samples": samples}


def paced(
    running: Running,
    bench: Bench,
    *,
    rate: float,
    seconds: float,
    body: bytes | None = None,
    path: str | None = None,
    connections: int = 64,
) -> dict[str, Any]:
    """One run of `paced`, in a process of its own: ours has a log to drain."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(body or b"")
        file.flush()
        target = path or running.path(1)
        command = ["taskset", "--cpu-list", str(bench.client_core), sys.executable, "-m", "benchmarks.serving.paced"]
        command += ["--port", str(running.port), "--path", target, "--rate", str(rate), "--seconds", str(seconds)]
        command += ["--connections", str(connections), *(["--body", file.name] if body else [])]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=seconds + 60)
    if done.returncode:
        raise BenchError(f"the paced client failed:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@contextmanager
def _background(running: Running, bench: Bench, seconds: float) -> Iterator[None]:
    """wrk with batches, at full load, while something else is measured."""
    with tempfile.TemporaryDirectory() as directory:
        line = load.command(running, Path(directory) / "load.lua", 1024, 4, seconds, bench.client_core)
        with subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as wrk:
            try:
                time.sleep(1)
                yield
            finally:
                wrk.terminate()


def _backend(server: Server, model: models.SavedModel) -> str:
    return models.backend(model) if server is servers.OURS else "sklearn"


def _medians(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    merged = {key: round(statistics.median(sample[key] for sample in samples), 3) for key in samples[0]}
    return {**merged, "failed": sum(sample["failed"] for sample in samples)}


def _paced_shown(sample: dict[str, Any]) -> str:
    failed = f"  {sample['failed']} FAILED" if sample["failed"] else ""
    return f"p50 {sample['p50']:.2f} ms  p99 {sample['p99']:.2f} ms{failed}"
