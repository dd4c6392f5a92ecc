"""Bodies of Open Inference Protocol V2, and its errors, for the OpenAPI document.

Inference itself is read and written by `inference.v2` and `inference.v2_answers`: there the classes are documentation.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from fairlead_service.errors import MEDIA_TYPE, Problem, ProblemDetails, openapi_responses

_RUN_ID = "6f2c1d0e9b3a4c5d8e7f60718293a4b5"


class _Body(BaseModel):
    model_config = ConfigDict(protected_namespaces=(), defer_build=True)


class V2Error(ProblemDetails):
    """Problem details, with the member that clients of the protocol read."""

    error: str = Field(description="The same as `detail`")


class InferInput(_Body):
    name: str = Field(description="Any name; of several inputs, each a feature's")
    datatype: Literal[
        "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "BF16", "FP32", "FP64"
    ]
    shape: list[int]
    data: list[Any] | None = Field(default=None, description="Flat, or nested as `shape` says; absent if in binary")
    parameters: dict[str, Any] | None = Field(default=None, description="`binary_data_size`")


class InferOutputRequest(_Body):
    name: Literal["predict", "predict_proba", "decision_function"]
    parameters: dict[str, Any] | None = Field(default=None, description="`binary_data`")


class InferRequest(_Body):
    """Tensors of features."""

    id: str | None = None
    inputs: list[InferInput]
    outputs: list[InferOutputRequest] | None = Field(default=None, description="`predict` alone if left out")
    parameters: dict[str, Any] | None = Field(default=None, description="`binary_data_output`; others are ignored")

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "inputs": [
                    {
                        "name": "input-0",
                        "datatype": "FP64",
                        "shape": [2, 4],
                        "data": [[5.1, 3.5, 1.4, 0.2], [6.2, 2.9, 4.3, 1.3]],
                    }
                ]
            }
        }
    )


class InferOutput(_Body):
    name: str
    datatype: str
    shape: list[int]
    data: list[Any] | None = Field(default=None, description="Flat, row by row; absent if in binary")
    parameters: dict[str, Any] | None = None


class InferResponse(_Body):
    model_name: str
    model_version: str
    id: str | None = None
    parameters: dict[str, Any] = Field(description="`run_id`: the run of the model that answered")
    outputs: list[InferOutput]

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "model_name": "iris",
                "model_version": "3",
                "parameters": {"run_id": _RUN_ID},
                "outputs": [{"name": "predict", "datatype": "INT64", "shape": [2], "data": [0, 1]}],
            }
        }
    )


class ServerMetadata(_Body):
    name: str
    version: str
    extensions: list[str]


class ServerLive(_Body):
    live: Literal[True] = True


class ServerReady(_Body):
    ready: Literal[True] = True


class ModelReady(_Body):
    name: str
    ready: Literal[True] = True


class MetadataTensor(_Body):
    name: str
    datatype: str
    shape: list[int] = Field(description="-1: any number")
    parameters: dict[str, Any] | None = Field(default=None, description="`columns`: names of the features, in order")


class ModelMetadata(_Body):
    name: str
    versions: list[str]
    platform: str
    inputs: list[MetadataTensor]
    outputs: list[MetadataTensor]


class IndexEntry(_Body):
    name: str
    version: str
    state: Literal["READY"] = "READY"
    reason: str = ""


def openapi_errors(*kinds: type[Problem]) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route of the protocol that may raise these."""
    responses = openapi_responses(*kinds)
    for response in responses.values():
        content = response["content"].pop(MEDIA_TYPE)
        content["schema"] = {"$ref": "#/components/schemas/V2Error"}
        for example in content["examples"].values():
            example["value"] = {"error": example["value"]["detail"], **example["value"]}
        response["content"]["application/json"] = content
    return responses
