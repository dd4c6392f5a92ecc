"""Helm 4 and Helm 3, and the stack with its dependencies, for the chart tier."""

from pathlib import Path

import pytest

from tests.chart import stubs
from tests.chart.rendering import Helm, find_helm


@pytest.fixture(scope="session")
def helm() -> Helm:
    """Helm 4."""
    return find_helm(4)


@pytest.fixture(scope="session", params=[4, 3], ids=["helm4", "helm3"])
def each_helm(request: pytest.FixtureRequest) -> Helm:
    """Helm 4, then Helm 3: many still install with it."""
    return find_helm(request.param)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stack as `helm dependency build` leaves it, with stand-ins for the charts of others."""
    return stubs.with_dependencies(tmp_path_factory.mktemp("charts"))
