"""`python -m fairlead_operator`: starts the controller and Kopf's watches, and ends them together."""

import asyncio
import logging
import signal
import sys

import kopf
from pydantic import ValidationError

from fairlead_operator import logs
from fairlead_operator.api import OWNER_LABEL
from fairlead_operator.controller import Controller
from fairlead_operator.handlers import register
from fairlead_operator.kinds import MODEL_DEPLOYMENT, WATCHED
from fairlead_operator.kube import Kube
from fairlead_operator.metrics import MetricsServer
from fairlead_operator.mlflow import MLflow
from fairlead_operator.settings import Settings

logger = logging.getLogger("fairlead_operator")


def kopf_settings() -> kopf.OperatorSettings:
    """Kopf watches and does nothing else."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False  # our Events are on transitions, not on log lines
    settings.scanning.disabled = True  # no rights on CRDs and namespaces needed
    settings.peering.standalone = True  # somebody else's peering object must not pause us
    settings.watching.server_timeout = 300  # load balancers cut silent streams without a word
    settings.watching.client_timeout = 310
    settings.queueing.idle_timeout = 1  # a task for each object that changed: let it go soon
    for kind in WATCHED:
        if kind.labelled:  # a cluster has thousands of pods that are not ours
            settings.watching.label_selectors[kind.group, kind.version, kind.plural] = OWNER_LABEL
    return settings


async def run(settings: Settings) -> int:
    """Until SIGTERM or SIGINT, or until a part of it ends by itself; returns the exit code."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    kube = await Kube.connect()
    auth = (settings.mlflow_username, settings.mlflow_password or "") if settings.mlflow_username else None
    mlflow = MLflow(settings.mlflow_tracking_uri, auth, settings.mlflow_token)
    controller = Controller(settings, kube, mlflow)
    server = MetricsServer(settings.metrics_port, controller.health)
    try:
        if not await kube.served(MODEL_DEPLOYMENT):
            logger.error("The API server does not know ModelDeployments: install the CustomResourceDefinition first.")
            return 1
        registry = kopf.OperatorRegistry()
        register(registry, controller)
        async with controller.running():
            logger.info("Operator started", extra={"metrics_port": server.port})
            await kopf.operator(
                registry=registry,
                settings=kopf_settings(),
                standalone=True,
                clusterwide=not settings.watch_namespaces,
                namespaces=settings.watch_namespaces,
                stop_flag=stop,
            )
        return 0 if stop.is_set() else 1
    finally:
        server.close()
        await mlflow.close()
        await kube.close()


def main() -> int:
    try:
        settings = Settings()
    except ValidationError as error:
        names = [f"FAIRLEAD_OPERATOR_{str(found['loc'][0]).upper()}: {found['msg']}" for found in error.errors()]
        sys.stderr.write("The operator's environment is not valid. " + "; ".join(names) + "\n")
        return 2
    logs.configure(settings.log_level)
    return asyncio.run(run(settings))


if __name__ == "__main__":
    sys.exit(main())
