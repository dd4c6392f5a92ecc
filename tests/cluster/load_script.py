"""A steady load on a model's Service, run inside the cluster by the roll-out tests; Python's standard library only.

Half of the clients keep their connection, half open a new one for every request. It ends `AFTER_SECONDS` after every
answer of the last second came from the awaited run, or at the time limit, and prints one JSON object: what was sent,
what failed and why, and which run answered how often. Several bodies are sent in turn. A file ends it sooner.
"""

import http.client
import itertools
import json
import socket
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

AFTER_SECONDS = 5.0
CLIENTS = 8
STOP = Path("/tmp/load-stop")
READY_PORT = 9000
"""Open from the begin of the load: the pod's readiness probe connects to it, so that nothing is rolled out earlier."""


@dataclass
class Tally:
    """What all clients saw; guarded by its lock."""

    awaited: str
    lock: threading.Lock = field(default_factory=threading.Lock)
    sent: int = 0
    failures: list[str] = field(default_factory=list)
    runs: Counter[str] = field(default_factory=Counter)
    last_other: float = field(default_factory=time.monotonic)
    last_other_at: float = field(default_factory=time.time)
    seen_awaited: bool = False

    def answer(self, run_id: str) -> None:
        with self.lock:
            self.sent += 1
            self.runs[run_id] += 1
            if run_id == self.awaited:
                self.seen_awaited = True
            else:
                self.last_other, self.last_other_at = time.monotonic(), time.time()

    def failure(self, text: str) -> None:
        with self.lock:
            self.sent += 1
            self.failures.append(f"{time.strftime('%H:%M:%S')} {text}")

    def settled(self) -> bool:
        with self.lock:
            return self.seen_awaited and time.monotonic() - self.last_other > AFTER_SECONDS


class Client(threading.Thread):
    """Sends `rate` requests a second until told to stop. Never retries: every failure counts."""

    def __init__(
        self, url: str, bodies: list[bytes], rate: float, keep_alive: bool, tally: Tally, stop: threading.Event
    ) -> None:
        super().__init__(daemon=True)
        split = urlsplit(url)
        self.host, self.port = split.hostname or "", split.port or 80
        self.bodies, self.interval, self.keep_alive = itertools.cycle(bodies), 1 / rate, keep_alive
        self.tally, self.stop_event = tally, stop
        self.connection: http.client.HTTPConnection | None = None

    def run(self) -> None:
        due = time.monotonic()
        while not self.stop_event.wait(max(0.0, due - time.monotonic())):
            due += self.interval
            try:
                self.once()
            except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
                self.tally.failure(f"{type(error).__name__}: {error} (keep_alive={self.keep_alive})")
                self.connection = None

    def once(self) -> None:
        if self.connection is None:
            self.connection = http.client.HTTPConnection(self.host, self.port, timeout=10)
        headers = {"content-type": "application/json"}
        if not self.keep_alive:
            headers["connection"] = "close"
        self.connection.request("POST", "/predict", next(self.bodies), headers)
        response = self.connection.getresponse()
        content = response.read()
        if response.will_close or not self.keep_alive:
            self.connection.close()
            self.connection = None
        if response.status != 200:
            self.tally.failure(f"{response.status} {content[:300]!r}")
        else:
            self.tally.answer(json.loads(content)["run_id"])


def await_name(host: str, deadline: float) -> None:
    """Returns when the name is known, or at the deadline. A DNS server whose watch was cut (another test restarts the
    API server) learns of a new Service some seconds late; that is no fault of the roll-out that is watched here."""
    while time.monotonic() < deadline:
        try:
            socket.getaddrinfo(host, None)
            return
        except socket.gaierror:
            time.sleep(0.2)


def main() -> int:
    url, awaited, rate, limit_seconds, *bodies = sys.argv[1:]
    await_name(urlsplit(url).hostname or "", time.monotonic() + float(limit_seconds))
    ready = socket.create_server(("", READY_PORT))
    tally, stop = Tally(awaited), threading.Event()
    per_client = float(rate) / CLIENTS
    encoded = [body.encode() for body in bodies]
    clients = [Client(url, encoded, per_client, number % 2 == 0, tally, stop) for number in range(CLIENTS)]
    began = time.monotonic()
    for client in clients:
        client.start()
    while not tally.settled() and not STOP.exists() and time.monotonic() - began < float(limit_seconds):
        stop.wait(0.1)
    stop.set()
    for client in clients:
        client.join(15)
    ready.close()
    seconds = time.monotonic() - began
    summary = {
        "settled": tally.settled(),
        "sent": tally.sent,
        "per_second": round(tally.sent / seconds, 1),
        "failures": len(tally.failures),
        "examples": tally.failures[:10],
        "runs": dict(tally.runs),
        "last_other_at": tally.last_other_at,
    }
    sys.stdout.write(json.dumps(summary) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
