"""The cluster of `make stack`, and what the tests do on it.

Everything goes through public faces: kubectl, HTTP, MLflow's own client. Tests refuse any kubeconfig but the one that
`make up` wrote. Waiting is `kubectl wait` and `kubectl get --watch`, never a sleep.

Four directories are four phases, run one after the other (tools/tiers.py):

- `parallel`: side by side. A test here disturbs nothing that another one needs; tests that share something (a module's
  fixture, a port, the API's model) are one `xdist_group`.
- `outages`: in series. Each file takes one dependency away, once, for all tests that need that.
- `alone`: what loads the machine so much that nothing else may run.
- `last`: looks at what the others left.
"""

import json
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from examples import breast_cancer
from tests.cluster.models import Data, Models
from tests.cluster.namespaces import Namespace, new_namespace
from tools.cluster import KUBECONFIG, Cluster, binaries

OUR_CONTEXTS = re.compile(r"^(fairlead|kind-fairlead)$")
LONGEST = ("test_dashboards", "test_tutorial", "test_canary.py", "test_canary_by_hand", "test_kubectl", "test_hot_swap")
"""Files whose tests begin first, so that no worker is left with a long one at the end."""


def pytest_collection_finish(session: pytest.Session) -> None:
    """Refuses a pytest with which pytest-xdist loses sight of groups: their tests would disturb each other."""
    if getattr(session.config.option, "loadgroup", False):
        alone = [one.nodeid for one in session.items if one.get_closest_marker("xdist_group") and "@" not in one.nodeid]
        if alone:
            raise pytest.UsageError(f"pytest-xdist ignores the group of {alone[0]}: is pytest newer than it supports?")


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False  # workers take the tests in the order below


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(pytest.mark.cluster)
    items.sort(key=lambda item: next((rank for rank, name in enumerate(LONGEST) if name in item.nodeid), len(LONGEST)))


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
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of this test run, the same for all its workers."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def data() -> Data:
    """Breast cancer: rows (569, 30), labels, feature names."""
    return breast_cancer.read_data(breast_cancer.DATA)


@pytest.fixture(scope="session")
def models(cluster: Cluster, data: Data, shared: Path) -> Models:
    """Trained runs, good and bad ones, in the cluster's MLflow."""
    return Models(cluster, data, shared)


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
