"""A load on servers behind something like a Service: clients of several kinds, none of which tries anything twice."""

import asyncio
import contextlib
import itertools
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from tests.integration.service.conftest import PATIENCE

PIECE = 2**16


@dataclass
class Behind:
    """The ports that new connections are made to, in turn. Connections there are stay where they are."""

    ports: list[int]
    _turn: "itertools.count[int]" = field(default_factory=itertools.count)

    def next(self) -> int:
        return self.ports[next(self._turn) % len(self.ports)]


@dataclass
class Question:
    request: bytes
    right: Any
    """The whole answer."""
    pause: float = 0.0
    """Seconds between two pieces of the body that are sent."""


@dataclass
class Load:
    """`failures` are all that did not end with a full right answer."""

    behind: Behind
    answers: Counter[int] = field(default_factory=Counter)
    """By the port of who answered."""
    failures: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    over: bool = False
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def per_second(self) -> float:
        return self.answers.total() / (time.monotonic() - self.began)

    async def reach(self, true: Callable[[], bool]) -> None:
        """Until it is true, or something has failed."""
        async with asyncio.timeout(PATIENCE):
            while not true() and not self.failures:
                self._news.clear()
                await self._news.wait()
        assert self.failures == []

    async def pooled(self, question: Question) -> None:
        """Keeps its connection until an answer says that it is the last."""
        while not self.over:
            async with self._connection() as connection:
                while not self.over and await connection.ask(question):
                    pass

    async def fresh(self, question: Question) -> None:
        """A connection for each request."""
        while not self.over:
            async with self._connection() as connection:
                await connection.ask(question)

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator["_Connection"]:
        port = self.behind.next()
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**26)
            try:
                yield _Connection(self, port, reader, writer)
            finally:
                writer.close()
        except Exception as error:
            self.failures.append(f"{port}: {type(error).__name__}: {error}")
            self.over = True
            self._news.set()

    @contextlib.asynccontextmanager
    async def on(self, *clients: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(client) for client in clients]
        self.began = time.monotonic()
        try:
            yield
        finally:
            self.over = True
            await asyncio.gather(*tasks)


@dataclass
class _Connection:
    load: Load
    port: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, question: Question) -> bool:
        """Whether the connection may be used again. Raises whatever goes wrong."""
        if not question.pause:
            self.writer.write(question.request)
        else:
            for start in range(0, len(question.request), PIECE):
                self.writer.write(question.request[start : start + PIECE])
                await self.writer.drain()
                await asyncio.sleep(question.pause)
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
        body = await self.reader.readexactly(length)
        assert head.startswith("http/1.1 200 "), f"{head} {body[:300]!r}"
        assert json.loads(body) == question.right, f"wrong: {body[:300]!r}"
        self.load.answers[self.port] += 1
        self.load._news.set()
        return "connection: close" not in head
