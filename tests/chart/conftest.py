"""Helm 4 and Helm 3 for the chart tier."""

import pytest

from tests.chart.rendering import Helm, find_helm


@pytest.fixture(scope="session")
def helm() -> Helm:
    """Helm 4."""
    return find_helm(4)


@pytest.fixture(scope="session", params=[4, 3], ids=["helm4", "helm3"])
def each_helm(request: pytest.FixtureRequest) -> Helm:
    """Helm 4, then Helm 3: many still install with it."""
    return find_helm(request.param)
