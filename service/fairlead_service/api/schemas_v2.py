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
    """A tensor of features."""

    name: str = Field(description="Any name; of several inputs, each a feature's")
    datatype: Literal[
        "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "BF16", "FP32", "FP64"
    ] = Field(description="Of its numbers")
    shape: list[int] = Field(description="Rows first")
    data: list[Any] | None = Field(default=None, description="Flat, or nested as `shape` says; absent if in binary")
    parameters: dict[str, Any] | None = Field(default=None, description="`binary_data_size`")


class InferOutputRequest(_Body):
    """A tensor that is wanted."""

    name: Literal["predict", "predict_proba", "decision_function"] = Field(description="What the model shall say")
    parameters: dict[str, Any] | None = Field(default=None, description="`binary_data`")


class InferRequest(_Body):
    """Tensors of features."""

    id: str | None = Field(default=None, description="Comes back in the answer")
    inputs: list[InferInput] = Field(description="One of all features, or one a feature")
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
    """A tensor of answers."""

    name: str = Field(description="What the model says")
    datatype: str = Field(description="Of its numbers; BYTES for labels that are text")
    shape: list[int] = Field(description="Rows first")
    data: list[Any] | None = Field(default=None, description="Flat, row by row; absent if in binary")
    parameters: dict[str, Any] | None = Field(default=None, description="`binary_data_size`")


class InferResponse(_Body):
    """Tensors of answers."""

    model_name: str = Field(description="The registered name, or the run id")
    model_version: str = Field(description="The registered version, or the run id")
    id: str | None = Field(default=None, description="As in the request")
    parameters: dict[str, Any] = Field(description="`run_id`: the run of the model that answered")
    outputs: list[InferOutput] = Field(description="In the order asked for")

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
    """What the server is."""

    name: str = Field(description="Always the same")
    version: str = Field(description="Of Fairlead")
    extensions: list[str] = Field(description="Of the protocol, that it knows")


class ServerLive(_Body):
    """The process answers."""

    live: Literal[True] = Field(default=True, description="Always true")


class ServerReady(_Body):
    """Inference requests are answered."""

    ready: Literal[True] = Field(default=True, description="Always true")


class ModelReady(_Body):
    """The model serves."""

    name: str = Field(description="As in the request")
    ready: Literal[True] = Field(default=True, description="Always true")


class MetadataTensor(_Body):
    """A tensor that the model takes or answers."""

    name: str = Field(description="What requests and answers call it")
    datatype: str = Field(description="Of its numbers")
    shape: list[int] = Field(description="-1: any number")
    parameters: dict[str, Any] | None = Field(default=None, description="`columns`: names of the features, in order")


class ModelMetadata(_Body):
    """Tensors of the model."""

    name: str = Field(description="As in the request")
    versions: list[str] = Field(description="The one that serves")
    platform: str = Field(description="Always the same")
    inputs: list[MetadataTensor] = Field(description="What it takes")
    outputs: list[MetadataTensor] = Field(description="What it can answer")


class IndexEntry(_Body):
    """A model that serves."""

    name: str = Field(description="The registered name, or the run id")
    version: str = Field(description="The registered version, or the run id")
    state: Literal["READY"] = Field(default="READY", description="Always the same")
    reason: str = Field(default="", description="Always empty")


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
