"""Asks a model's Service as an application would, run inside the cluster; Python's standard library only.

Prints one JSON object: what each way of asking was answered, as `[status, run]`, or why there was no answer.
"""

import http.client
import json
import ssl
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Answer = list[Any]
RETRIES = 3
TOKEN, PKI = Path("/token/token"), Path("/pki")


def secure(host: str, certificate: bool) -> http.client.HTTPConnection:
    context = ssl.create_default_context(cafile=str(PKI / "ca.crt"))
    if certificate:
        context.load_cert_chain(PKI / "tls.crt", PKI / "tls.key")
    return http.client.HTTPSConnection(host, 8443, context=context, timeout=10)


def ask(connection: http.client.HTTPConnection, body: str, credential: str | None) -> Answer:
    headers = {"Content-Type": "application/json"}
    if credential is not None:
        headers["Authorization"] = f"Bearer {credential}"
    for left in reversed(range(RETRIES + 1)):
        connection.request("POST", "/predict", body, headers)
        answer = connection.getresponse()
        wait = answer.headers.get("Retry-After")
        if not left or answer.status != 503 or wait is None:
            break
        answer.read()
        time.sleep(float(wait))  # as the server asks: it may not have the identity provider's keys yet
    return [answer.status, json.loads(answer.read()).get("run_id")]


def main(host: str, key: str, body: str) -> None:
    token = TOKEN.read_text()
    ways: dict[str, Callable[[], Answer]] = {
        "token": lambda: ask(secure(host, True), body, token),
        "key": lambda: ask(secure(host, True), body, key),
        "other key": lambda: ask(secure(host, True), body, key + "x"),
        "nothing": lambda: ask(secure(host, True), body, None),
        "no certificate": lambda: ask(secure(host, False), body, token),
        "plain": lambda: ask(http.client.HTTPConnection(host, 8000, timeout=10), body, token),
    }
    found: dict[str, Answer] = {}
    for name, way in ways.items():
        try:
            found[name] = way()
        except OSError as error:
            found[name] = [type(error).__name__, None]
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
