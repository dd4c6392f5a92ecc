"""`python -m fairlead_service`: one process, one event loop, one port. Scale by pods, not by workers."""

import gc
import os
import sys

from fairlead_service import listening

_early = listening.early(os.environ) if __name__ == "__main__" else None
gc.disable()  # what is imported stays: looking through it for garbage takes a tenth of the start

# Before numpy is imported: its BLAS makes one thread a core otherwise, which for single rows costs more than it
# gains, and in a container counts the node's cores, not ours.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("PROMETHEUS_DISABLE_CREATED_SERIES", "true")  # a third of /metrics, and nobody asks for it
# FastAPI would import all of pydantic 1 to see whether a route has one of its models; there are none.
sys.modules["pydantic.v1"] = None  # type: ignore[assignment]

import socket  # noqa: E402

import uvicorn  # noqa: E402
from pydantic import ValidationError  # noqa: E402

from fairlead_service.app import create_app  # noqa: E402
from fairlead_service.following import StaleError  # noqa: E402
from fairlead_service.observability import logs  # noqa: E402
from fairlead_service.patterns import message  # noqa: E402
from fairlead_service.protocol import protocol  # noqa: E402
from fairlead_service.server import Server  # noqa: E402
from fairlead_service.settings import Settings  # noqa: E402


def main() -> int:
    """Serves until told to leave; returns the exit code."""
    try:
        settings = Settings()
    except ValidationError as error:
        logs.configure("info", "fairlead")
        for item in error.errors(include_url=False, include_input=False):
            name = ".".join(str(part) for part in item["loc"]).upper()
            known = name if name.startswith("MLFLOW") else f"FAIRLEAD_{name}"
            logs.error(f"setting {known}: {message(item)}" if name else f"settings: {message(item)}")
        return 2
    logs.configure(settings.log_level, f"fairlead-{settings.role}")
    taken = _early or _socket(settings)
    secure = None if settings.tls_cert_file is None else _listen(settings.host, settings.tls_port, "FAIRLEAD_TLS_PORT")
    if taken is None or (secure is None and settings.tls_cert_file is not None):
        return 1
    return _serve(settings, taken, secure)


def _socket(settings: Settings) -> socket.socket | None:
    if settings.listen_fd is None:
        return _listen(settings.host, settings.port, "FAIRLEAD_PORT")
    try:
        return listening.inherited(settings.listen_fd)
    except OSError as error:
        logs.error(f"FAIRLEAD_LISTEN_FD: {error}; hand on a socket that listens, or leave it out")
        return None


def _listen(host: str, port: int, setting: str) -> socket.socket | None:
    try:
        return listening.listen(host, port)
    except OSError as error:
        logs.error(
            f"cannot listen on {host} port {port}: {error.strerror or error}; "
            f"stop what listens there, or set {setting} (or FAIRLEAD_HOST) to another"
        )
        return None


def _serve(settings: Settings, taken: socket.socket, secure: socket.socket | None) -> int:
    try:
        app = create_app(settings)
    except StaleError as error:
        logs.error(f"the server does not start: {error}")
        return 1
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=protocol(
            max_age=settings.max_connection_age_seconds,
            patience=settings.body_timeout_seconds,
            idle=settings.keep_alive_seconds,
        ),
        ws="none",
        lifespan="on",
        log_config=None,  # ours; uvicorn's would write lines that are not JSON
        access_log=False,  # the middleware writes one line a request, with more in it
        server_header=False,
        proxy_headers="FORWARDED_ALLOW_IPS" in os.environ,  # uvicorn trusts only 127.0.0.1 without it
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_graceful_shutdown=settings.shutdown_seconds,
    )
    services = app.state.services
    tls = None if secure is None else (secure, services.certificates.context)
    server = Server(config, services.drain, before_shutdown=services.close, secure=tls)
    gc.enable()
    gc.freeze()
    try:
        server.run(sockets=[taken])
    except SystemExit:  # uvicorn's way out of a failed start; the reason is logged
        return 1
    return 0 if server.started else 1


if __name__ == "__main__":
    sys.exit(main())
