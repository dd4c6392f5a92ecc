"""`helm test`: asks MLflow whether it answers, and the API for a prediction.

Run by the service image's own Python out of the test pod's arguments, with nothing but the standard library. Exit code
0: everything that could be asked was answered rightly; what could not be asked is said. 1: the last line says what
failed and what to look at.
"""

import argparse
import base64
import http.client
import json
import os
import ssl
import sys
import time
import urllib.parse
from typing import Any

ROWS = 10
"""Rows of an input example that are sent, at most."""
Answer = tuple[int, Any]
"""Status, and what the JSON body says; the body's text if it is none."""


class SmokeError(Exception):
    """For people."""


def say(text: str) -> None:
    print(text, flush=True)


class Server:
    """One base URL, asked over one connection: each replica of the API has a model of its own, and the one that says
    what it serves has to be the one that predicts."""

    def __init__(self, base: str, headers: dict[str, str], tls: ssl.SSLContext | None, patience: float) -> None:
        parts = urllib.parse.urlsplit(base)
        self.base = base
        self._headers = headers
        self._patience = patience
        if parts.scheme == "https":
            self._connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                parts.netloc, timeout=10, context=tls
            )
        else:
            self._connection = http.client.HTTPConnection(parts.netloc, timeout=10)

    def ask(self, method: str, path: str, body: Any = None) -> Answer:
        """The answer; tried again while there is none, as long as patience lasts: the release may be starting.

        Raises SmokeError."""
        sent = None if body is None else json.dumps(body)
        headers = self._headers | ({} if body is None else {"Content-Type": "application/json"})
        deadline = time.monotonic() + self._patience
        while True:
            try:
                self._connection.request(method, path, sent, headers)
                with self._connection.getresponse() as response:
                    return response.status, _parsed(response.read())
            except (OSError, http.client.HTTPException) as error:
                self._connection.close()
                reason = f"{self.base}{path} does not answer: {str(error) or type(error).__name__}"
                if isinstance(error, ssl.SSLError) or time.monotonic() > deadline:
                    raise SmokeError(reason) from None
                say(f"--  {reason}; trying again")
                time.sleep(2)

    def get(self, path: str) -> Any:
        """The body of a 200. Raises SmokeError."""
        status, said = self.ask("GET", path)
        if status != 200:
            raise SmokeError(f"GET {self.base}{path} is answered {status}: {_problem(said)}")
        say(f"ok  GET {self.base}{path}")
        return said


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode(errors="replace")


def _problem(said: Any) -> str:
    """An RFC 9457 problem document in one line; of other answers the beginning."""
    if isinstance(said, dict) and "title" in said:
        return f"{said['title']}: {said.get('detail', '')}"
    return str(said)[:300]


def _no_model(answer: Answer) -> bool:
    status, said = answer
    return status == 503 and isinstance(said, dict) and str(said.get("type", "")).endswith("no-model")


def example(info: dict[str, Any]) -> tuple[list[Any], str]:
    """Rows for the model that `/model/info` describes, and what they are."""
    if rows := info.get("input_example"):
        return rows[:ROWS], "its input example"
    return [[0.0] * info["n_features"]], "zeros; the model was logged without an input example"


def predict(api: Server) -> None:
    """Asks the model that is loaded for a prediction. Raises SmokeError."""
    answer = api.ask("GET", "/model/info")
    if _no_model(answer):
        say("--  no model is loaded, so none is asked: train or load one, and run helm test again")
        return
    status, info = answer
    if status == 401:
        raise SmokeError(f"the API does not know the key of tests.credential: {_problem(info)}")
    if status != 200:
        raise SmokeError(f"GET {api.base}/model/info is answered {status}: {_problem(info)}")
    name = f"run {info['run_id']}" + (f", {info['model_name']}" if info.get("model_name") else "")
    say(f"ok  {info['estimator']} of {name} serves ({info['backend']}), {info['n_features']} features")
    rows, what = example(info)
    status, said = api.ask("POST", "/predict", {"features": rows})
    if _no_model((status, said)):
        say("--  another replica answered /predict, which has no model loaded")
        return
    if status == 403:
        raise SmokeError(f"the key of tests.credential may not predict; give it the role predict: {_problem(said)}")
    if status != 200:
        raise SmokeError(f"POST {api.base}/predict of {len(rows)} rows ({what}) is answered {status}: {_problem(said)}")
    predictions = said.get("predictions") if isinstance(said, dict) else None
    if not isinstance(predictions, list) or len(predictions) != len(rows):
        raise SmokeError(
            f"POST {api.base}/predict of {len(rows)} rows is answered {_problem(said)}, not by as many predictions"
        )
    say(f"ok  POST {api.base}/predict of {len(rows)} rows ({what}): {json.dumps(predictions)}")


def refused(api: Server) -> None:
    """With access control and no key of ours: that it is there. Raises SmokeError."""
    status, said = api.ask("GET", "/model/info")
    if status != 401:
        raise SmokeError(
            f"api.auth is set, but GET {api.base}/model/info without a key is answered {status}: {_problem(said)}"
        )
    say("ok  the API asks for a key or a token")
    say("--  no prediction is asked for: set tests.credential.secretName to a Secret with a key of the role predict")


def trusting(directory: str, client: str) -> ssl.SSLContext:
    """Trusts the certificate in the API's Secret alone, whichever name clients outside know it by. `client`: the
    directory of our own certificate, or empty."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # an anchor that signs itself or not
    context.load_verify_locations(f"{directory}/tls.crt")
    if client:
        context.load_cert_chain(f"{client}/tls.crt", f"{client}/tls.key")
    return context


def arguments(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mlflow", default="", help="base URL of this release's MLflow")
    parser.add_argument("--plain", default="", help="base URL of the API without TLS, for its health")
    parser.add_argument("--api", default="", help="base URL that predictions are asked from; empty: none are")
    parser.add_argument("--auth", action="store_true", help="the API asks for credentials: $CREDENTIAL is ours, if any")
    parser.add_argument("--certificate", default="", help="directory with the API's tls.crt")
    parser.add_argument("--client-certificate", default="", help="directory with our own tls.crt and tls.key")
    parser.add_argument("--patience", type=float, default=30, help="seconds that a server may take to answer at all")
    return parser.parse_args(words)


def check(given: argparse.Namespace, environment: dict[str, str]) -> None:
    """Everything that can be asked. Raises SmokeError."""
    if given.mlflow:
        user, password = (environment.get(f"MLFLOW_TRACKING_{one}", "") for one in ("USERNAME", "PASSWORD"))
        basic = base64.b64encode(f"{user}:{password}".encode()).decode()
        mlflow = Server(given.mlflow, {"Authorization": f"Basic {basic}"} if user else {}, None, given.patience)
        mlflow.get("/health")
        # /health answers any Host header; this one shows that MLflow knows the Service's name.
        mlflow.get("/api/2.0/mlflow/experiments/search?max_results=1")
    if given.plain:
        Server(given.plain, {}, None, given.patience).get("/health")
    if not given.api:
        if given.plain:
            say("--  no prediction is asked for: clients need a certificate; set tests.clientCertificate.secretName")
        return
    tls = trusting(given.certificate, given.client_certificate) if given.certificate else None
    credential = environment.get("CREDENTIAL", "").strip()
    headers = {"Authorization": f"Bearer {credential}"} if credential else {}
    api = Server(given.api, headers, tls, given.patience)
    if given.auth and not credential:
        refused(api)
    else:
        predict(api)


def main(words: list[str] | None = None) -> int:
    try:
        check(arguments(words), dict(os.environ))
    except SmokeError as failed:
        say(f"FAILED  {failed}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
