"""What the fuzzer does with bytes, and the tests with its corpus: one target for each decoder of what clients send.

Whatever the bytes are, a decoder gives a matrix as the model needs it, or raises a Problem with a body. The quick way
through a body of `/predict` must agree with the careful one, however it is cut into pieces.
"""

from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np

from fairlead_service.api import train_request
from fairlead_service.api.metrics import wants_openmetrics
from fairlead_service.errors import Problem
from fairlead_service.inference import codec, invocations, v2
from fairlead_service.inference.codec import Expected
from fairlead_service.inference.quick import Decoder
from fairlead_service.models.bundle import Identity, Manifest, Proof
from fairlead_service.request_head import problem_of

WIDTH, MOST_ROWS = 2, 20
NAMES = ("a", "b")
MANIFEST = Manifest(
    identity=Identity(run_id="a" * 32, model_uri="runs:/x/model"),
    backend="sklearn",
    estimator="sklearn.X",
    task="classification",
    n_features=WIDTH,
    feature_names=NAMES,
    classes=(0, 1),
    has_probabilities=True,
    proof=Proof(rows=1, verdict="loaded"),
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
)
WITH_MISSING = MANIFEST.model_copy(update={"accepts_missing": True, "feature_names": None})
EXPECTED = Expected("features", MOST_ROWS, WIDTH, NAMES, one_row=True)
QUICK = (Decoder(), Decoder(1), Decoder(20))
PADDING = b" " * 2048
"""With it, a body is large."""


def check(matrix: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]", missing: bool = False) -> None:
    assert matrix.dtype == np.float64
    assert matrix.flags.c_contiguous
    assert matrix.shape[1] == WIDTH
    assert 0 < len(matrix) <= MOST_ROWS
    assert not np.isinf(matrix).any()
    assert missing or not np.isnan(matrix).any()


def predict(body: bytes) -> None:
    found = [decoder.decode(text, WIDTH, MOST_ROWS) for decoder in QUICK for text in (body, body + PADDING)]
    careful = codec.decode_predict(body, EXPECTED)  # what is taken quickly must be taken carefully, too
    check(careful.matrix)
    for quick in found:
        if quick is not None:
            assert quick.want == careful.want
            assert quick.matrix.tobytes() == careful.matrix.tobytes()


def train(body: bytes) -> None:
    request = train_request.decode_train(body, MOST_ROWS, {"random_forest"})
    assert len(request.target) == len(request.matrix)
    request.to_json()


def infer(body: bytes) -> None:
    check(v2.decode(body, None, MANIFEST, MOST_ROWS).matrix)


def infer_binary(body: bytes) -> None:
    length, _, rest = body.partition(b" ")
    check(v2.decode(rest, length, WITH_MISSING, MOST_ROWS).matrix, missing=True)


def invocation(body: bytes) -> None:
    check(invocations.decode_json(body, MANIFEST, MOST_ROWS).matrix)


def invocation_csv(body: bytes) -> None:
    check(invocations.decode_csv(body, WITH_MISSING, MOST_ROWS).matrix, missing=True)


def head(body: bytes) -> None:
    """Lines of a head after its version."""
    version, *lines = body.split(b"\n")
    headers = [(name.lower(), value) for name, _, value in (line.partition(b":") for line in lines)]
    if problem := problem_of(headers, dict(headers), version.decode("latin-1")):
        assert problem.status in (400, 501)
        problem.body("id")


def accept(body: bytes) -> None:
    wants_openmetrics(body.decode("latin-1"))


TARGETS: list[Callable[[bytes], None]] = [predict, train, infer, infer_binary, invocation, invocation_csv, head, accept]


def one(data: bytes) -> None:
    """The first byte chooses the decoder."""
    if data:
        try:
            TARGETS[data[0] % len(TARGETS)](data[1:])
        except Problem as problem:
            problem.body("id")
            if problem.status >= 500:
                raise AssertionError("a body is never the server's fault") from problem
