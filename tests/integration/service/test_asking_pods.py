"""The operator's adapter for pods, asked of real servers."""

from collections.abc import AsyncIterator

import pytest

from fairlead_operator.pods import AnswerError, Pods
from fairlead_operator.reports import Samples
from tests.integration.service.conftest import ServerProcess, StartServer
from tests.unit.service.support import FEATURES, RUN_A, X, Y, tree, write_bundle


@pytest.fixture(scope="module")
def server(start_server: StartServer, tmp_path_factory: pytest.TempPathFactory) -> ServerProcess:
    """A predictor with the settings it has by default."""
    bundle = write_bundle(tmp_path_factory.mktemp("pods") / "bundle", tree())
    return start_server(fairlead_role="predictor", fairlead_bundle_dir=bundle.directory)


@pytest.fixture
async def pods(server: ServerProcess) -> AsyncIterator[Pods]:
    adapter = Pods(server.port)
    yield adapter
    await adapter.close()


async def test_what_serves(pods: Pods) -> None:
    info = await pods.info("127.0.0.1")
    assert (info.run_id, info.task, info.previous, info.loading) == (RUN_A, "classification", None, None)
    assert info.input_example == tuple(map(tuple, X.tolist()))


async def test_rows_in_another_order_are_answered_by_their_names(pods: Pods) -> None:
    rows = [tuple(row) for row in X.tolist()]
    plain = await pods.predict("127.0.0.1", rows)
    assert (plain.run_id, plain.predictions) == (RUN_A, tuple(Y.tolist()))
    turned = [row[::-1] for row in rows]
    assert (await pods.predict("127.0.0.1", turned, columns=FEATURES[::-1])).predictions == plain.predictions


async def test_what_the_model_does_not_take_is_an_answer(pods: Pods) -> None:
    with pytest.raises(AnswerError) as caught:
        await pods.predict("127.0.0.1", [(1.0, 2.0)])
    assert (caught.value.status, caught.value.problem) == (422, "invalid-input")


async def test_what_is_not_switched_on_is_not_there(pods: Pods) -> None:
    assert await pods.samples("127.0.0.1", 10) == Samples()
