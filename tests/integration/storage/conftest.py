"""One PostgreSQL and one S3 for all tests here."""

from collections.abc import Iterator

import pytest

from tests.integration.storage import servers
from tests.integration.storage.servers import S3, Postgresql
from tools.localcluster.certificates import Authority


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return servers.authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="session")
def postgresql(tls: Authority) -> Iterator[Postgresql]:
    with servers.postgresql(tls) as running:
        yield running


@pytest.fixture(scope="session")
def s3(tls: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with servers.s3(tls, tmp_path_factory.mktemp("s3")) as running:
        yield running
