from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from fairlead_service.models.bundle import Bundle
from fairlead_service.settings import Settings
from tests.unit.service.support import running, tree, write_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """A decision tree with integer labels."""
    return write_bundle(tmp_path / "bundle", tree())


@pytest.fixture
async def predictor(bundle: Bundle) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a predictor that serves `bundle`."""
    async with running(Settings(role="predictor", bundle_dir=bundle.directory)) as (client, _):
        yield client
