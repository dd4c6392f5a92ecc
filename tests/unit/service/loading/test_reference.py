import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_service.contract import FailureReason
from fairlead_service.failures import LoadError
from fairlead_service.loading import reference as refs

RUN, MODEL = "6f2c" * 8, "m-" + "6f2c" * 8


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        (f"runs:/{RUN}/model", refs.RunModel(RUN, "model")),
        (f"runs:/{RUN}/a/b", refs.RunModel(RUN, "a/b")),
        (f"runs:/{RUN}", refs.RunModel(RUN, None)),
        (f"runs:/{RUN}/", refs.RunModel(RUN, None)),
        (f"runs:/{RUN}/model/", refs.RunModel(RUN, "model")),
        (f"runs://{RUN}//a/b//", refs.RunModel(RUN, "a/b")),
        (f"models:/{MODEL}/", refs.LoggedModel(MODEL)),
        ("models:/fraud/3/", refs.ModelVersion("fraud", "3")),
        (f"models:/{MODEL}", refs.LoggedModel(MODEL)),
        ("models:/fraud/3", refs.ModelVersion("fraud", "3")),
        ("models:/fraud@champion", refs.ModelAlias("fraud", "champion")),
        ("models:/who@home@champion", refs.ModelAlias("who@home", "champion")),
    ],
)
def test_forms(uri: str, expected: refs.Reference) -> None:
    assert refs.parse(uri) == expected
    assert refs.parse(refs.written(expected)) == expected


NONE_OF_THEM = [
    "",
    "fraud",
    "runs",
    "runs:/",
    "runs:/0123/../../other",
    "models:/",
    "models:/fraud",
    "models:/fraud/Production",
    "models:/fraud/3/../4",
    "models:/a/b/3",
    "models:/@x",
    "models:/x@",
    "models:/m-0123",
    "s3://bucket/model",
    "file:///etc/passwd",
]


@pytest.mark.parametrize("uri", NONE_OF_THEM)
def test_anything_else_names_the_forms(uri: str) -> None:
    with pytest.raises(LoadError, match="runs:/RUN_ID/PATH") as caught:
        refs.parse(uri)
    assert caught.value.reason is FailureReason.MODEL_NOT_FOUND


@given(st.text())
def test_total(uri: str) -> None:
    with contextlib.suppress(LoadError):
        refs.parse(uri)
