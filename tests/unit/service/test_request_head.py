"""What of a request's head is refused."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_service.request_head import problem_of

HOST = (b"host", b"a")
CHUNKED = (b"transfer-encoding", b"chunked")
ONCE = (b"host", b"authorization", b"content-type", b"inference-header-content-length")
MANY = (b"accept", b"accept-encoding", b"cookie", b"x-forwarded-for", b"via", b"traceparent")


def status(*headers: tuple[bytes, bytes], version: str = "1.1") -> int | None:
    problem = problem_of(list(headers), dict(headers), version)
    return None if problem is None else problem.status


@pytest.mark.parametrize(
    ("headers", "version", "expected"),
    [
        ((HOST,), "1.1", None),
        ((HOST, CHUNKED), "1.1", None),
        ((HOST, (b"transfer-encoding", b" Chunked\t")), "1.1", None),
        ((), "1.0", None),
        ((), "1.1", 400),
        ((HOST,), "0.9", 400),
        ((HOST,), "2.0", 400),
        ((CHUNKED,), "1.0", 400),
        ((HOST, (b"transfer-encoding", b"gzip, chunked")), "1.1", 501),
        ((HOST, CHUNKED, CHUNKED), "1.1", 501),
        ((HOST, (b"transfer-encoding", b"gzip"), CHUNKED), "1.1", 501),
        ((HOST, (b"transfer-encoding", b"")), "1.1", 501),
    ],
)
def test_heads(headers: Any, version: str, expected: int | None) -> None:
    assert status(*headers, version=version) == expected


names = st.sampled_from([*ONCE, *MANY])


@given(st.lists(st.tuples(names, st.binary(max_size=5)), max_size=8))
def test_what_has_one_value_is_sent_once(headers: list[tuple[bytes, bytes]]) -> None:
    given_names = [name for name, _ in headers]
    again = any(given_names.count(name) > 1 for name in ONCE)
    expected = 400 if again or b"host" not in given_names else None
    assert status(*headers) == expected
