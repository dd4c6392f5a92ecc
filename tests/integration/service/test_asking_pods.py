"""The operator's adapter for pods, asked of real servers."""

import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fairlead_operator.desired.access import Contact
from fairlead_operator.pods import AnswerError, Pods, UnreachableError
from fairlead_operator.reports import Samples
from fairlead_operator.trust import Trust
from tests.integration.service.conftest import ServerProcess, StartServer
from tests.integration.service.test_tls import tls_port
from tests.pki import Authority
from tests.unit.service.support import FEATURES, RUN_A, X, Y, tree, write_bundle

OPEN = Contact()
HOST = "fraud.models.svc"
"""What the pods' certificate is for; their addresses are not in it."""


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
    info = await pods.info("127.0.0.1", OPEN)
    assert (info.run_id, info.task, info.previous, info.loading) == (RUN_A, "classification", None, None)
    assert info.input_example == tuple(map(tuple, X.tolist()))


async def test_rows_in_another_order_are_answered_by_their_names(pods: Pods) -> None:
    rows = [tuple(row) for row in X.tolist()]
    plain = await pods.predict("127.0.0.1", rows, OPEN)
    assert (plain.run_id, plain.predictions) == (RUN_A, tuple(Y.tolist()))
    turned = [row[::-1] for row in rows]
    assert (await pods.predict("127.0.0.1", turned, OPEN, columns=FEATURES[::-1])).predictions == plain.predictions


async def test_what_the_model_does_not_take_is_an_answer(pods: Pods) -> None:
    with pytest.raises(AnswerError) as caught:
        await pods.predict("127.0.0.1", [(1.0, 2.0)], OPEN)
    assert (caught.value.status, caught.value.problem) == (422, "invalid-input")


async def test_what_is_not_switched_on_is_not_there(pods: Pods) -> None:
    assert await pods.samples("127.0.0.1", 10, OPEN) == Samples()


async def test_pods_that_ask_who_is_there_are_given_the_token(
    start_server: StartServer, server: ServerProcess, tmp_path: Path
) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text("[]")
    guarded = start_server(
        fairlead_role="predictor",
        fairlead_bundle_dir=write_bundle(tmp_path / "bundle", tree()).directory,
        fairlead_replay_samples=5,
        fairlead_api_keys_file=keys,
        fairlead_load_token_sha256=hashlib.sha256(b"s3cret").hexdigest(),
    )
    adapter, contact = Pods(guarded.port), Contact("s3cret")
    rows = [tuple(row) for row in X.tolist()]
    assert (await adapter.info("127.0.0.1", contact)).run_id == RUN_A
    assert (await adapter.predict("127.0.0.1", rows, contact)).predictions == tuple(Y.tolist())
    assert await adapter.samples("127.0.0.1", 5, contact) == Samples((), FEATURES)
    with pytest.raises(AnswerError, match=r"401 unauthorized: .* set the chart's operator\.loadKey"):
        await adapter.info("127.0.0.1", OPEN)
    await adapter.close()


async def test_pods_that_speak_tls_are_known_by_their_services_name(
    start_server: StartServer, bundle: Path, tmp_path: Path
) -> None:
    ours, clients = Authority(tmp_path, "ours"), Authority(tmp_path, "clients")
    shown = ours.issue("pod", HOST)
    secured = start_server(
        fairlead_role="predictor", fairlead_bundle_dir=bundle, fairlead_tls_port=0,
        fairlead_tls_cert_file=shown.certificate, fairlead_tls_key_file=shown.key,
        fairlead_tls_client_ca_file=clients.path,
    )  # fmt: skip
    port, mine = tls_port(secured), clients.issue("operator")
    there = Contact(server_name=HOST)

    async def ask(contact: Contact, trust: Trust) -> str:
        adapter = Pods(secured.port, port, trust)
        try:
            return (await adapter.info("127.0.0.1", contact)).run_id
        finally:
            await adapter.close()

    assert await ask(there, Trust(ours.path, mine.certificate, mine.key)) == RUN_A
    for contact, trust in (
        (Contact(server_name="other.models.svc"), Trust(ours.path, mine.certificate, mine.key)),
        (there, Trust(clients.path, mine.certificate, mine.key)),
        (there, Trust(None, mine.certificate, mine.key)),
        (there, Trust(ours.path)),
    ):
        with pytest.raises(UnreachableError):
            await ask(contact, trust)
    with pytest.raises(AnswerError, match="403 tls-required"):
        await ask(OPEN, Trust(ours.path))


async def test_the_operators_certificate_may_change(start_server: StartServer, bundle: Path, tmp_path: Path) -> None:
    ours, clients = Authority(tmp_path, "ours"), Authority(tmp_path, "clients")
    shown = ours.issue("pod", HOST)
    secured = start_server(
        fairlead_role="predictor", fairlead_bundle_dir=bundle, fairlead_tls_port=0,
        fairlead_tls_cert_file=shown.certificate, fairlead_tls_key_file=shown.key,
        fairlead_tls_client_ca_file=clients.path,
    )  # fmt: skip
    stranger = Authority(tmp_path / "strangers", "strangers").issue("operator")
    adapter = Pods(secured.port, tls_port(secured), Trust(ours.path, stranger.certificate, stranger.key))
    there = Contact(server_name=HOST)
    with pytest.raises(UnreachableError):
        await adapter.info("127.0.0.1", there)
    known = clients.issue("known")
    os.replace(known.key, stranger.key)
    os.replace(known.certificate, stranger.certificate)
    assert (await adapter.info("127.0.0.1", there)).run_id == RUN_A
    await adapter.close()
