"""Settings come from the environment, under the names that the operator and the charts write."""

import ast
import inspect
from pathlib import Path

import pytest
from pydantic import ValidationError

from fairlead_service import contract
from fairlead_service import settings as module
from fairlead_service.settings import Settings


def test_what_the_operator_sets_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        contract.ENV_ROLE: contract.ROLE_PREDICTOR,
        contract.ENV_BUNDLE_DIR: "/bundle/model",
        contract.ENV_DRAIN_SECONDS: "7",
        contract.ENV_ALLOW_PICKLE: "true",
        contract.ENV_TRACKING_URI: "http://mlflow:5000",
        contract.ENV_MODEL_NAME: "",  # the loader's; not the server's
        "FAIRLEAD_LOG_LEVEL": "WARNING",
    }.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.role == "predictor"
    assert settings.bundle_dir == Path("/bundle/model")
    assert settings.drain_seconds == 7
    assert settings.allow_pickle
    assert settings.tracking_uri == "http://mlflow:5000"
    assert settings.log_level == "warning"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ROLE", "boss"),
        ("PORT", "70000"),
        ("PORT", "tcp://10.0.0.1:8000"),
        ("LOG_LEVEL", "loud"),
        ("DRAIN_SECONDS", "-1"),
    ],
)
def test_what_makes_no_sense_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"FAIRLEAD_{name}", value)
    with pytest.raises(ValidationError):
        Settings()


def test_a_rolling_update_fits_into_what_kubernetes_gives() -> None:
    defaults = Settings()
    assert defaults.drain_seconds + defaults.child_grace_seconds + defaults.shutdown_seconds < 30


def test_every_setting_says_what_it_is_for() -> None:
    tree = ast.parse(inspect.getsource(module))
    (settings,) = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    undocumented = {
        node.target.id
        for node, after in zip(settings.body, [*settings.body[1:], None], strict=True)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and not isinstance(after, ast.Expr)
    }
    assert not undocumented
