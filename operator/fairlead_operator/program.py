"""The operator's process: starts the controller and Kopf's watches, and ends them together."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Iterator

import kopf
from pydantic import ValidationError

from fairlead_operator import logs, tracing
from fairlead_operator.controller import Controller
from fairlead_operator.election import Elector, LostError
from fairlead_operator.handlers import kopf_settings, register
from fairlead_operator.kinds import MODEL_DEPLOYMENT
from fairlead_operator.kube import Kube, own_namespace
from fairlead_operator.metrics import LEADER, MetricsServer
from fairlead_operator.mlflow import MLflow
from fairlead_operator.pods import Pods
from fairlead_operator.prometheus import Prometheus
from fairlead_operator.settings import Settings, secret
from fairlead_operator.trust import Trust
from fairlead_operator.webhook import WebhookServer

logger = logging.getLogger("fairlead_operator")


async def run(settings: Settings) -> int:
    """Until SIGTERM or SIGINT, which Kopf handles; returns the exit code. Raises what Kopf could not recover from, and
    CancelledError on SIGTERM before Kopf listens."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    kube = await Kube.connect()
    mlflow = MLflow(
        settings.mlflow_tracking_uri,
        settings.mlflow_auth,
        secret(settings.mlflow_token),
        Trust(settings.mlflow_ca_file),
    )
    prometheus = Prometheus(settings.prometheus_url, settings.prometheus_auth) if settings.prometheus_url else None
    pods = Pods(trust=Trust(settings.pod_ca_file, settings.pod_cert_file, settings.pod_key_file))
    controller = Controller(settings, kube, mlflow, prometheus, pods)
    elector = _elector(settings, kube)
    server = MetricsServer(settings.metrics_port, controller.health, lambda: _unready(controller, elector))
    try:
        if not await kube.served(MODEL_DEPLOYMENT):
            logger.error("The API server does not know ModelDeployments: install the CustomResourceDefinition first.")
            return 1
        async with elector.leading() if elector else contextlib.nullcontext():
            await _work(settings, controller, server.port)
        return 0
    except LostError as error:
        logger.error("Another replica takes over: %s", error)
        return 1
    finally:
        server.close()
        await pods.close()
        if prometheus is not None:
            await prometheus.close()
        await mlflow.close()
        await kube.close()


async def _work(settings: Settings, controller: Controller, metrics_port: int) -> None:
    """Until Kopf is stopped by a signal."""
    registry = kopf.OperatorRegistry()
    register(registry, controller)
    async with controller.running():
        with _webhooks(settings, controller) as webhook_port:
            ports = {"metrics_port": metrics_port, "webhook_port": webhook_port}
            logger.info("Operator started", extra={"event": "started", **ports})
            await kopf.operator(
                registry=registry,
                settings=kopf_settings(),
                standalone=True,
                clusterwide=not settings.watch_namespaces,
                namespaces=settings.watch_namespaces,
            )


def _elector(settings: Settings, kube: Kube) -> Elector | None:
    """None for a single replica. A replica that does not lead can write nothing but the Lease."""
    if settings.lease_name is None:
        LEADER.set(1)
        return None
    namespace = settings.lease_namespace or own_namespace()
    elector = Elector(kube, namespace, settings.lease_name)
    kube.may_write = elector.leads
    return elector


def _unready(controller: Controller, elector: Elector | None) -> str | None:
    """A replica that waits is ready to take over: a Deployment with several becomes available."""
    if controller.started or (elector is not None and elector.seen and not elector.leads()):
        return None
    return "resources are being listed" if elector is None or elector.leads() else "the Lease has not been read yet"


@contextlib.contextmanager
def _webhooks(settings: Settings, controller: Controller) -> Iterator[int | None]:
    """Takes MLflow's webhooks where a secret is set; gives the port."""
    if settings.webhook_secret is None:
        yield None
        return
    loop = asyncio.get_running_loop()
    server = WebhookServer(
        settings.webhook_port,
        settings.webhook_secret.get_secret_value(),
        lambda name: loop.call_soon_threadsafe(controller.noticed, name),
    )
    try:
        yield server.port
    finally:
        server.close()


def _variable(loc: tuple[int | str, ...]) -> str:
    """What an error is about: a variable, or several together."""
    return f"FAIRLEAD_OPERATOR_{str(loc[0]).upper()}" if loc else "FAIRLEAD_OPERATOR_*"


def main() -> int:
    try:
        settings = Settings()
    except ValidationError as error:
        names = [f"{_variable(found['loc'])}: {found['msg']}" for found in error.errors()]
        sys.stderr.write("The operator's environment is not valid. " + "; ".join(names) + "\n")
        return 2
    logs.configure(settings.log_level)
    tracing.configure(os.environ)
    try:
        return asyncio.run(run(settings))
    except asyncio.CancelledError:
        return 0
    except Exception:  # as a line of the log, not as text beside it
        logger.exception("The operator cannot go on")
        return 1
    finally:
        tracing.close()
