"""What all records of a program have in common."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

ArrayName = str
Arrays = Mapping[ArrayName, NDArray[Any]]


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")
