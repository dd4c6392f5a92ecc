"""What people leave in an MLflow, and all that its API tells of it. As a program: `scientist.py URI`."""

import json
import math
import os
import sys
from typing import Any

X = [[0.1, 0.2], [0.9, 0.1], [0.4, 0.8], [0.7, 0.6]]
Y = [0, 1, 0, 1]


def leave(uri: str) -> None:
    """Runs, metrics, datasets, models, versions, aliases, tags, a trace, a webhook, and something deleted."""
    import mlflow
    import numpy as np
    from mlflow.data.numpy_dataset import from_numpy
    from mlflow.entities.webhook import WebhookAction, WebhookEntity, WebhookEvent
    from sklearn.linear_model import LogisticRegression

    mlflow.set_tracking_uri(uri)
    client = mlflow.MlflowClient()
    experiment = client.create_experiment("fraud 'quoted' \\ ünïcode", tags={"team": "a"})
    mlflow.set_experiment(experiment_id=experiment)
    client.create_registered_model("fraud", tags={"owner": "risk"}, description="line one\nline two")
    x = np.array(X)
    for number in range(2):
        with mlflow.start_run(run_name=f"run {number}", tags={"n": str(number)}):
            mlflow.log_params({"C": number + 1, "long": "x" * 500})
            for step, value in enumerate([0.5, math.nan, math.inf, -1e308]):
                mlflow.log_metric("loss", value, step=step)
            mlflow.log_input(from_numpy(x, name="rows"), context="training", tags={"source": "here"})
            mlflow.log_text("notes", "notes/readme.txt")
    with mlflow.start_run(run_name="fitted"):
        logged = mlflow.sklearn.log_model(LogisticRegression().fit(x, Y), name="model", pip_requirements=[])
        mlflow.log_metric("accuracy", 0.75, model_id=logged.model_id)
    for number in range(2):
        version = mlflow.register_model(f"models:/{logged.model_id}", "fraud", tags={"v": str(number)})
        client.set_registered_model_alias("fraud", f"number-{number}", version.version)
    with mlflow.start_span("asked") as span:
        span.set_inputs({"question": "why?"})
    client.delete_run(client.create_run(experiment, run_name="gone").info.run_id)
    client.create_experiment("left empty")
    mlflow.genai.register_prompt("greeting", "Hello {{ name }}", tags={"tone": "kind"})
    moved = [WebhookEvent(WebhookEntity.MODEL_VERSION_ALIAS, WebhookAction.CREATED)]
    client.create_webhook("hook", "http://127.0.0.1:9/", moved, secret="a secret of sixteen")


def told(uri: str) -> dict[str, Any]:
    """Everything its API tells, as texts that can be compared."""
    import mlflow
    from mlflow.entities import ViewType

    client = mlflow.MlflowClient(tracking_uri=uri)
    experiments = client.search_experiments(ViewType.ALL)
    ids = [one.experiment_id for one in experiments]
    runs = client.search_runs(ids, run_view_type=ViewType.ALL)
    versions = client.search_model_versions("name='fraud'")
    return {
        "experiments": plain(experiments),
        "runs": {run.info.run_id: plain(run.to_dictionary()) for run in runs},
        "inputs": {run.info.run_id: plain(run.inputs.to_dictionary()) for run in runs},
        "outputs": {run.info.run_id: plain(run.outputs) for run in runs},
        "metrics": {run.info.run_id: plain(client.get_metric_history(run.info.run_id, "loss")) for run in runs},
        "logged models": {one.model_id: plain(one.to_dictionary()) for one in client.search_logged_models(ids)},
        "registered": plain(client.search_registered_models()),
        "versions": {one.version: plain(one) for one in versions},
        "aliases": [client.get_model_version_by_alias("fraud", f"number-{number}").version for number in range(2)],
        "traces": [plain(one.info.to_dict()) for one in client.search_traces(locations=ids)],
        "webhooks": plain(list(client.list_webhooks())),
    }


def plain(value: Any) -> str:
    """One text for equal things: NaN equals itself there, and neither tags nor results have an order."""
    if isinstance(value, list):
        return "\n".join(sorted(map(plain, value)))
    return json.dumps(value, sort_keys=True, default=lambda one: dict(one) if hasattr(one, "__iter__") else repr(one))


if __name__ == "__main__":
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    leave(sys.argv[1])
