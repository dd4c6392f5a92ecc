"""The other inference protocols, by clients that others wrote: tritonclient and MLflow's own scoring client."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from mlflow.pyfunc.scoring_server.client import ScoringServerClient
from sklearn.tree import DecisionTreeRegressor
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

from fairlead_service.models.bundle import Identity
from tests.integration.service.conftest import ServerProcess, StartServer
from tests.unit.service.support import FEATURES, RUN_A, X, logistic, write_bundle

LABELS = np.array(["setosa", "setosa", "virginica", "größte"])
IDENTITY = {"run_id": RUN_A, "model_uri": f"runs:/{RUN_A}/model", "name": "iris", "version": "3"}


@pytest.fixture(scope="module")
def model() -> Any:
    return logistic(LABELS)


@pytest.fixture(scope="module")
def server(start_server: StartServer, tmp_path_factory: pytest.TempPathFactory, model: Any) -> ServerProcess:
    """Serves version 3 of `iris`, whose labels are strings."""
    directory = tmp_path_factory.mktemp("protocols") / "bundle"
    write_bundle(directory, model, identity=Identity(**IDENTITY), has_scores=True)
    return start_server(fairlead_role="predictor", fairlead_bundle_dir=directory)


@pytest.fixture
def client(server: ServerProcess) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        yield client


def tensor(values: Any, datatype: str, binary: bool, name: str = "input-0") -> triton.InferInput:
    given = triton.InferInput(name, list(values.shape), datatype)
    return given.set_data_from_numpy(values, binary_data=binary)


def test_triton_sees_a_live_server_and_its_model(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("iris")
    assert client.is_model_ready("iris", "3")
    assert not client.is_model_ready("iris", "4")
    assert not client.is_model_ready("tulips")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data", "model_repository"]
    index = client.get_model_repository_index()
    assert index == [{"name": "iris", "version": "3", "state": "READY", "reason": ""}]
    metadata = client.get_model_metadata("iris")
    assert (metadata["name"], metadata["versions"], metadata["platform"]) == ("iris", ["3"], "sklearn")
    assert metadata["inputs"] == [
        {"name": "input-0", "datatype": "FP64", "shape": [-1, 4], "parameters": {"columns": list(FEATURES)}}
    ]
    assert metadata["outputs"] == [
        {"name": "predict", "datatype": "BYTES", "shape": [-1]},
        {"name": "predict_proba", "datatype": "FP64", "shape": [-1, 3]},
        {"name": "decision_function", "datatype": "FP64", "shape": [-1, -1]},
    ]


@pytest.mark.parametrize("binary_input", [False, True])
@pytest.mark.parametrize("binary_output", [False, True])
def test_triton_gets_every_output_bit_for_bit(
    client: triton.InferenceServerClient, model: Any, binary_input: bool, binary_output: bool
) -> None:
    names = ["decision_function", "predict", "predict_proba"]
    outputs = [triton.InferRequestedOutput(name, binary_data=binary_output) for name in names]
    answer = client.infer(
        "iris", [tensor(X, "FP64", binary_input)], model_version="3", outputs=outputs, request_id="seven"
    )
    assert answer.get_response()["id"] == "seven"
    assert answer.get_response()["parameters"] == {"run_id": RUN_A}
    assert [output["name"] for output in answer.get_response()["outputs"]] == names
    predicted = [v.decode() if isinstance(v, bytes) else v for v in answer.as_numpy("predict").tolist()]
    assert predicted == model.predict(X).tolist()
    assert np.array_equal(answer.as_numpy("predict_proba"), model.predict_proba(X))
    assert np.array_equal(answer.as_numpy("decision_function"), model.decision_function(X))


def test_triton_gets_predictions_alone_if_it_names_no_outputs(client: triton.InferenceServerClient, model: Any) -> None:
    answer = client.infer("model", [tensor(X, "FP64", True)], parameters={"colour": "red"}, timeout=5, priority=1)
    assert [output["name"] for output in answer.get_response()["outputs"]] == ["predict"]
    assert [v.decode() for v in answer.as_numpy("predict")] == model.predict(X).tolist()


@pytest.mark.parametrize("datatype", ["FP64", "FP32", "FP16", "INT8", "INT64", "UINT16", "BOOL"])
@pytest.mark.parametrize("binary", [False, True])
def test_triton_sends_any_number_and_it_is_widened_exactly(
    client: triton.InferenceServerClient, model: Any, datatype: str, binary: bool
) -> None:
    values = X.astype(triton_dtype(datatype))
    outputs = [triton.InferRequestedOutput("predict_proba")]
    answer = client.infer(RUN_A, [tensor(values, datatype, binary)], outputs=outputs)
    assert np.array_equal(answer.as_numpy("predict_proba"), model.predict_proba(values.astype(np.float64)))


def triton_dtype(name: str) -> Any:
    return triton_to_np_dtype(name)


def test_triton_sends_a_tensor_for_each_feature_in_any_order(client: triton.InferenceServerClient, model: Any) -> None:
    kinds = dict(zip(FEATURES, [("FP64", True), ("FP32", False), ("FP64", False), ("FP32", True)], strict=True))
    inputs, columns = [], []
    for column, name in reversed(list(enumerate(FEATURES))):
        datatype, binary = kinds[name]
        values = X[:, [column]].astype(triton_dtype(datatype))
        inputs.append(tensor(values if binary else values[:, 0], datatype, binary, name))
        columns.insert(0, values.astype(np.float64))
    answer = client.infer("iris", inputs, outputs=[triton.InferRequestedOutput("predict_proba")])
    assert np.array_equal(answer.as_numpy("predict_proba"), model.predict_proba(np.hstack(columns)))


def test_triton_is_told_what_is_wrong(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match=r"\[400\].*shape \[4, 2\]; send \[rows, 4\]"):
        client.infer("iris", [tensor(X[:, :2], "FP64", True)])
    with pytest.raises(InferenceServerException, match=r"\[404\].*no model 'tulips'.*'iris'"):
        client.infer("tulips", [tensor(X, "FP64", True)])
    with pytest.raises(InferenceServerException, match=r"\[415\].*gzip.*not compressed"):
        client.infer("iris", [tensor(X, "FP64", True)], request_compression_algorithm="gzip")
    with pytest.raises(InferenceServerException, match=r"\[404\].*stats is not supported"):
        client.get_inference_statistics("iris")
    missing = X.copy()
    missing[2, 1] = np.nan
    for binary in (False, True):
        with pytest.raises(InferenceServerException, match=r"\[400\].*row 2, column 1, sepal width is NaN"):
            client.infer("iris", [tensor(missing, "FP64", binary)])
    with pytest.raises(InferenceServerException, match=r"\[400\].*datatype 'BYTES'.*numbers"):
        client.infer("iris", [tensor(np.full((4, 4), "x", dtype=object), "BYTES", True)])


def test_triton_takes_long_answers_compressed(client: triton.InferenceServerClient, model: Any) -> None:
    rows = np.resize(X, (2000, 4))
    for binary in (False, True):
        answer = client.infer(
            "iris",
            [tensor(rows, "FP64", True)],
            outputs=[triton.InferRequestedOutput("predict_proba", binary_data=binary)],
            response_compression_algorithm="gzip",
        )
        assert np.array_equal(answer.as_numpy("predict_proba"), model.predict_proba(rows))


async def test_triton_asks_from_asyncio(server: ServerProcess, model: Any) -> None:
    async with triton_aio.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        answer = await client.infer("iris", [tensor(X, "FP64", True)])
        assert [v.decode() for v in answer.as_numpy("predict")] == model.predict(X).tolist()


def test_mlflow_scores_frames_arrays_and_columns(server: ServerProcess, model: Any) -> None:
    client = ScoringServerClient("127.0.0.1", server.port)
    client.ping()
    client.wait_server_ready(timeout=5)
    assert client.get_version() == "3.17.2"
    frame = pd.DataFrame(X, columns=list(FEATURES))
    expected = model.predict(X).tolist()
    for data in (frame, frame[list(reversed(FEATURES))], X, X.tolist(), frame.to_dict(orient="records")):
        assert client.invoke(data).get_predictions()[0].tolist() == expected
    with pytest.raises(Exception, match=r"422.*params"):
        client.invoke(X, params={"temperature": 1})
    with pytest.raises(Exception, match=r"422.*column 'sepal width' is missing"):
        client.invoke(frame.drop(columns="sepal width"))


def test_the_answer_is_that_of_mlflows_own_server(
    start_server: StartServer, server: ServerProcess, model: Any, tmp_path: Path
) -> None:
    """MLflow's own `invocations`, with the same models saved by MLflow, in this process.

    No linear regressor: MLflow gives scikit-learn a frame, which lies column by column, and BLAS adds up in another
    order then.
    """
    import mlflow.sklearn
    from mlflow.pyfunc.scoring_server import invocations

    regressor = DecisionTreeRegressor(random_state=0).fit(X, [0.1, 0.2, 0.3, 1e300])
    directory = write_bundle(tmp_path / "bundle", regressor).directory
    other = start_server(fairlead_role="predictor", fairlead_bundle_dir=directory)
    frame = pd.DataFrame(X, columns=list(FEATURES))
    for ours, estimator in ((server, model), (other, regressor)):
        path = str(tmp_path / type(estimator).__name__)
        signature = mlflow.models.infer_signature(frame, estimator.predict(X))
        more = {"serialization_format": "cloudpickle", "pip_requirements": ["scikit-learn"]}
        mlflow.sklearn.save_model(estimator, path, signature=signature, **more)
        theirs = mlflow.pyfunc.load_model(path)
        for content_type, body in bodies(frame):
            expected = invocations(body, content_type, theirs, theirs.metadata.get_input_schema())
            with ours.client() as client:
                answer = client.post("/invocations", content=body, headers={"content-type": content_type})
            assert (answer.status_code, answer.json()) == (expected.status, json.loads(expected.response))


def bodies(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """The same rows in every form."""
    split = frame.to_dict(orient="split")
    forms = {
        "inputs": frame.to_dict(orient="list"),
        "instances": frame.to_dict(orient="records"),
        "dataframe_split": split,
        "dataframe_records": frame[list(reversed(FEATURES))].to_dict(orient="records"),
    }
    documents = [{field: value} for field, value in forms.items()]
    documents.append({"dataframe_split": {"columns": split["columns"], "data": split["data"]}, "params": {}})
    return [
        *(("application/json", json.dumps(document)) for document in documents),
        ("application/json; charset=utf-8", json.dumps(documents[0])),
        ("text/csv", frame.to_csv(index=False)),
        ("text/csv; charset=utf-8", frame[list(reversed(FEATURES))].to_csv(index=False)),
    ]
