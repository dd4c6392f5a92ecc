import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fairlead_service import contract
from tests.unit.service.support import RUN_A, tree, write_bundle


def test_the_loader_starts_without_model_libraries() -> None:
    """What a pod waits for before the first byte is fetched."""
    program = (
        "import sys, fairlead_service.loading.__main__, fairlead_service.training.__main__;"
        "print([name for name in ('mlflow', 'sklearn', 'skops', 'pandas', 'scipy', 'joblib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


LEAN = """
import sys
from fairlead_service.loading.__main__ import main
code = main([], __import__("os").environ)
assert not {"opentelemetry.sdk", "sklearn", "requests"} & sys.modules.keys()
sys.exit(code)
"""


@pytest.mark.parametrize(
    "tracing",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_TRACES_SAMPLER": "always_off"},
        {
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
            "TRACEPARENT": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
        },
    ],
)
def test_a_loader_that_is_not_traced_imports_nothing_to_trace_with(tmp_path: Path, tracing: dict[str, str]) -> None:
    found = write_bundle(tmp_path / "b", tree(), trusted_types=())
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("FAIRLEAD_", "OTEL_"))}
    environment |= {contract.ENV_MODEL_URI: f"runs:/{RUN_A}/model", contract.ENV_BUNDLE_DIR: str(found.directory)}
    done = subprocess.run([sys.executable, "-c", LEAN], env=environment | tracing, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout.splitlines()[-1])["value"]["run_id"] == RUN_A
