"""`python -m fairlead_operator`: starts the controller and Kopf's watches, and ends them together."""

import asyncio
import logging
import sys

import kopf
from pydantic import ValidationError

from fairlead_operator import logs
from fairlead_operator.controller import Controller
from fairlead_operator.handlers import kopf_settings, register
from fairlead_operator.kinds import MODEL_DEPLOYMENT
from fairlead_operator.kube import Kube
from fairlead_operator.metrics import MetricsServer
from fairlead_operator.mlflow import MLflow
from fairlead_operator.settings import Settings

logger = logging.getLogger("fairlead_operator")


async def run(settings: Settings) -> int:
    """Until SIGTERM or SIGINT, which Kopf handles; returns the exit code. Raises what Kopf could not recover from."""
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
            )
        return 0
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
