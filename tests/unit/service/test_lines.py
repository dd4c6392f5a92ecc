"""Nobody waits for the reader of the log; what is lost is counted."""

import io
import json
import os
import threading
from collections.abc import Iterator

import pytest

from fairlead_service.observability import lines
from fairlead_service.observability.lines import BufferedLines, DirectLines

PATIENCE = 30.0


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Its two ends; the reader's is closed at the end, so that nothing waits for it then."""
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)


def read_lines(reader: int, last: bytes) -> list[bytes]:
    """Everything up to the line `last`."""
    content = b""
    while not content.endswith(last):
        content += os.read(reader, 2**20)
    return content.splitlines(keepends=True)


def dropped(count: int) -> bytes:
    return b'{"dropped":%d}\n' % count


def line(number: int) -> bytes:
    return b'{"line":%d,"filler":"%b"}\n' % (number, b"x" * 200)


def test_lines_come_whole_and_in_order_from_many_threads(pipe: tuple[int, int]) -> None:
    log = BufferedLines(pipe[1], dropped)

    def write(first: int) -> None:
        for number in range(first, first + 500):
            log.write(line(number))
            if number % 50 == 0:
                log.flush()

    threads = [threading.Thread(target=write, args=(first * 1000,)) for first in range(4)]
    for thread in threads:
        thread.start()
    received: list[int] = []
    content = b""
    while content.count(b"\n") < 2000:
        content += os.read(pipe[0], 2**20)
    received = [json.loads(one)["line"] for one in content.splitlines()]
    for first in range(4):
        own = [number for number in received if number // 1000 == first]
        assert own == list(range(first * 1000, first * 1000 + 500))


def test_a_flush_hands_on_at_once(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "INTERVAL_SECONDS", PATIENCE)
    log = BufferedLines(pipe[1], dropped)
    log.write(line(1))
    log.flush()
    os.set_blocking(pipe[0], False)
    assert os.read(pipe[0], 1000) == line(1)
    log.write(line(2))
    log.write(line(3))
    log.flush()
    assert os.read(pipe[0], 1000) == line(2) + line(3)


def test_a_full_pipe_blocks_neither_writers_nor_flushes(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_PENDING", 1000)
    log = BufferedLines(pipe[1], dropped)
    for number in range(20_000):  # many times what a pipe holds
        log.write(line(number))
        log.flush()
    log.flush(0.01)
    content, lost, kept = b"", 0, list[int]()
    while lost + len(kept) < 20_000:
        content += os.read(pipe[0], 2**20)
        whole, _, content = content.rpartition(b"\n")
        for found in map(json.loads, whole.splitlines()):
            if "line" in found:
                kept.append(found["line"])
            else:
                lost += found["dropped"]
    assert lost > 10_000
    assert lost + len(kept) == 20_000
    assert kept == sorted(set(kept))


def test_a_reader_that_has_gone_is_no_matter() -> None:
    reader, writer = os.pipe()
    log = BufferedLines(writer, dropped)
    os.close(reader)
    for number in range(1000):
        log.write(line(number))
        log.flush()
    log.flush(1)


def test_the_end_of_the_process_waits_for_the_reader_but_not_for_ever(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "INTERVAL_SECONDS", PATIENCE)
    log = BufferedLines(pipe[1], dropped)
    for number in range(2000):
        log.write(line(number))
    log.flush(0.05)  # nobody reads
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.extend(read_lines(pipe[0], line(1999))))
    reader.start()
    log.flush(PATIENCE)
    reader.join()
    assert received == [line(number) for number in range(2000)]


def test_direct_lines_are_written_at_once() -> None:
    stream = io.StringIO()
    log = DirectLines(stream)
    log.write(b"one\n")
    assert stream.getvalue() == "one\n"
    log.flush()
