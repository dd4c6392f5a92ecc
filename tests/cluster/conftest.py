"""The cluster of `make up`, and what the tests do on it.

Everything goes through public faces: kubectl, HTTP, MLflow's own client. Tests refuse any kubeconfig but the one that
`make up` wrote. Waiting is `kubectl wait` and `kubectl get --watch`, never a sleep.
"""

import json
import re
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from examples import breast_cancer
from tests.cluster.steps import Data, Models, Namespace, Release, new_namespace
from tools.cluster import KUBECONFIG, Cluster, binaries

OUR_CONTEXTS = re.compile(r"^(fairlead|kind-fairlead)$")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(pytest.mark.cluster)
    items.sort(key=lambda item: "test_logs.py" in item.nodeid)  # after what it looks at


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    if not KUBECONFIG.exists():
        pytest.fail("no cluster: `make stack` starts one")
    found = Cluster(binaries())
    context = found.kubectl("config", "current-context").strip()
    if not OUR_CONTEXTS.match(context):
        pytest.fail(f"{KUBECONFIG} points at context {context!r}, which `make up` did not make")
    return found


@pytest.fixture(scope="session")
def release(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Release:
    return Release.of(cluster, tmp_path_factory.mktemp("release"))


@pytest.fixture(scope="session")
def data() -> Data:
    """Breast cancer: rows (569, 30), labels, feature names."""
    return breast_cancer.read_data(breast_cancer.DATA)


@pytest.fixture(scope="session")
def models(cluster: Cluster, data: Data) -> Models:
    """Trained runs, good and spoilt ones, in the cluster's MLflow."""
    return Models(cluster, data)


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[Namespace]:
    """An empty namespace that enforces the restricted Pod Security Standard."""
    with new_namespace(cluster, f"t-{secrets.token_hex(4)}") as found:
        yield found


@pytest.fixture(scope="session")
def example_body(data: Data) -> str:
    """A /predict body of two rows."""
    features: list[Any] = data[0][:2]
    return json.dumps({"features": features})
