"""Long bodies are decoded elsewhere, and nobody sees a difference but the event loop."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairlead_service.errors import ChildCrashed, InvalidInput
from fairlead_service.inference import codec, invocations, v2
from fairlead_service.inference.codec import Expected
from fairlead_service.inference.decoder_process import DecoderProcess
from fairlead_service.inference.raw import LOOP_BYTES
from tests.unit.service.support import FEATURES, X, api_settings, running, tree, write_bundle
from tests.unit.service.test_v2 import ROWS, body, manifest, tensor

EXPECTED = Expected("features", 50, 3, ("a", "b", "c"), one_row=True)
GOOD = json.dumps({"features": ROWS, "scores": True}).encode()
ONE_ANSWER = "import sys, fairlead_service.inference.decoder_process as d; d.IDLE_SECONDS = 0.01; d.main()"


@pytest.fixture
async def decoder() -> AsyncIterator[DecoderProcess]:
    made = DecoderProcess(os.environ)
    yield made
    made.close()


def process_of(decoder: DecoderProcess) -> Any:
    return decoder._process


async def test_results_and_problems_are_those_of_the_decoder(decoder: DecoderProcess) -> None:
    found = await decoder.run(codec.decode_predict, GOOD, EXPECTED)
    assert (found.matrix.tolist(), found.want) == (ROWS, (False, True))
    assert found.matrix.flags.c_contiguous
    found.matrix[0, 0] = 1.0  # as every other matrix, it can be written to
    request = await decoder.run(v2.decode, body(tensor(), id="i"), None, manifest(input_example=((1.0, 2.0, 3.0),)), 50)
    assert (request.matrix.tolist(), request.id) == (ROWS, "i")
    document = json.dumps({"inputs": ROWS}).encode()
    assert np.array_equal((await decoder.run(invocations.decode_json, document, manifest(), 50)).matrix, ROWS)
    with pytest.raises(InvalidInput, match="row 0, column 1, b") as raised:
        await decoder.run(codec.decode_predict, b'{"features":[[1,"2",3]]}', EXPECTED)
    assert raised.value.errors[0].pointer == "/features/0/1"
    with pytest.raises(AttributeError) as bug:
        await decoder.run(codec.decode_predict, b"{}", None)  # type: ignore[arg-type]
    assert "decode_predict" in str(bug.value.__notes__), "where it came from is said"


async def test_bodies_that_come_together_are_decoded_one_after_the_other(decoder: DecoderProcess) -> None:
    bodies = [json.dumps({"features": [[i, i, i]]}).encode() for i in range(20)]
    found = await asyncio.gather(*(decoder.run(codec.decode_predict, each, EXPECTED) for each in bodies))
    assert [decoded.matrix[0, 0] for decoded in found] == list(range(20))


async def test_a_process_that_was_killed_costs_one_request_at_most(decoder: DecoderProcess) -> None:
    await decoder.run(codec.decode_predict, GOOD, EXPECTED)
    first = process_of(decoder)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert (await decoder.run(codec.decode_predict, GOOD, EXPECTED)).matrix.tolist() == ROWS
    assert process_of(decoder).pid != first.pid


async def test_a_process_that_can_not_start_is_said_to_have_ended() -> None:
    decoder = DecoderProcess(os.environ, [sys.executable, "-c", ""])
    for _ in range(2):
        with pytest.raises(ChildCrashed, match="send fewer rows"):
            await decoder.run(codec.decode_predict, GOOD, EXPECTED)
    decoder.close()


async def test_a_process_with_nothing_to_do_ends_and_is_started_again() -> None:
    decoder = DecoderProcess(os.environ, [sys.executable, "-c", ONE_ANSWER])
    seen = set()
    for _ in range(3):
        await decoder.run(codec.decode_predict, GOOD, EXPECTED)
        process = process_of(decoder)
        seen.add(process.pid)
        await asyncio.to_thread(process.wait, 60)
        assert process.returncode == 0
    assert len(seen) == 3
    decoder.close()


async def test_it_ends_with_the_server() -> None:
    decoder = DecoderProcess(os.environ)
    await decoder.run(codec.decode_predict, GOOD, EXPECTED)
    process = process_of(decoder)
    decoder.close()
    await asyncio.to_thread(process.wait, 60)
    assert process.returncode == -signal.SIGKILL


async def test_long_bodies_over_http(tmp_path: Path) -> None:
    """By every protocol, right and wrong; a space more or less does not matter."""
    directory = write_bundle(tmp_path / "bundle", tree()).directory
    rows, pad = X.tolist(), " " * LOOP_BYTES
    objects = [dict(zip(FEATURES, row, strict=True)) for row in rows]
    table = "\n".join(",".join(map(str, row)) for row in [FEATURES, *rows])
    infer, csv = "/v2/models/model/infer", {"content-type": "text/csv"}
    wrong = [[1, 2, 3, None]]
    cases = [
        ("/predict", json.dumps({"features": rows}), {}),
        ("/predict", json.dumps({"features": objects}), {}),
        ("/predict", json.dumps({"features": wrong}), {}),
        ("/predict", "[]", {}),
        (infer, body(tensor(rows, X.shape)).decode(), {}),
        (infer, body(tensor(wrong, (1, 4))).decode(), {}),
        ("/invocations", json.dumps({"dataframe_records": objects}), {}),
        ("/invocations", json.dumps({"inputs": wrong}), {}),
        ("/invocations", table + "\n", csv),
        ("/invocations", table.replace("5.1", "x") + "\n", csv),
    ]
    async with running(api_settings(tmp_path)) as (client, services):
        await services.activate(directory)
        for path, content, headers in cases:
            short = await client.post(path, content=content, headers=headers)
            filled = content + ("\n" * LOOP_BYTES if headers else pad)
            long = await client.post(path, content=filled, headers=headers)
            known = [{**answer.json(), "instance": ""} for answer in (short, long)]
            assert (short.status_code, known[0]) == (long.status_code, known[1]), content
        used = process_of(services.decoder)
        assert used is not None
    await asyncio.to_thread(used.wait, 60)


async def test_binary_tensors_need_no_process(tmp_path: Path) -> None:
    directory = write_bundle(tmp_path / "bundle", tree()).directory
    many = np.tile(X, (LOOP_BYTES // 8 // 16, 1))
    head = body(tensor(None, many.shape, parameters={"binary_data_size": many.nbytes}))
    async with running(api_settings(tmp_path)) as (client, services):
        await services.activate(directory)
        answer = await client.post(
            "/v2/models/model/infer",
            content=head + many.tobytes(),
            headers={"inference-header-content-length": str(len(head))},
        )
        assert answer.json()["outputs"][0]["data"] == [0, 0, 1, 1] * (len(many) // 4)
        assert process_of(services.decoder) is None
