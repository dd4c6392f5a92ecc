"""What a request's head may not say, although the parser lets it pass. Pure.

Each of these is read in another way by some proxy: what one of the two takes for a request's end, or for its
credential, the other does not, and a request can hide behind another.
"""

from typing import Final

from fairlead_service.errors import MalformedRequest, Problem, TransferCodingUnsupported
from fairlead_service.inference.body import Headers

_ONCE: Final = (b"host", b"authorization", b"content-type", b"inference-header-content-length")
"""Headers of one value, of which readers take the first or the last."""
_VERSIONS: Final = ("1.1", "1.0")


def problem_of(headers: list[tuple[bytes, bytes]], known: Headers, version: str) -> Problem | None:
    """Why the request is refused; None for one that is right. `known` are the same headers by their names."""
    if version not in _VERSIONS:
        return MalformedRequest(f"the request is HTTP/{version}; send HTTP/1.1.")
    if len(known) != len(headers):
        names = [name for name, _ in headers]
        again = next((name for name in _ONCE if names.count(name) > 1), None)
        if again is not None:
            return MalformedRequest(f"the request has two {again.decode()} headers; send one.")
    if version == "1.1" and b"host" not in known:
        return MalformedRequest("the request has no Host header; send one.")
    if b"transfer-encoding" in known:
        codings = [value.strip().lower() for name, value in headers if name == b"transfer-encoding"]
        if version != "1.1":
            return MalformedRequest(f"the request is HTTP/{version} with Transfer-Encoding; send HTTP/1.1.")
        if codings != [b"chunked"]:
            shown = b", ".join(codings)[:100].decode("latin-1")
            return TransferCodingUnsupported(f"Transfer-Encoding is {shown!r}; send the body as it is, or chunked")
    return None
