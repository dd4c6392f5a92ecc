"""What a reader of the results has to know, in words."""

from typing import Final

from benchmarks.serving.bench import CHECKED_ROWS
from benchmarks.serving.servers import BATCH, BATCH_WAIT_SECONDS, sample_ratio

METHOD: Final = f"""\
Each server, with all its processes, is pinned to one core; `wrk` drives it from another. In every round each server
has its turn: it is started, has to answer {CHECKED_ROWS} single rows and a batch exactly as scikit-learn does, is
warmed up for seven seconds, measured, asked again, and ended before the next one starts. Rates and latencies are
medians of the rounds; ratios are taken within a round. Differences below a quarter mean nothing on a virtual machine.

All servers use the same scikit-learn, uvicorn and httptools, and run at their defaults, with their own logs on.
Fairlead runs as the chart's defaults run it in a pod: with request log (to a pipe that is read), metrics, and traces of
{100 * sample_ratio():g} % of the requests, exported to a sink.
Where a peer batches, a batch is at most {BATCH} requests, and {1000 * BATCH_WAIT_SECONDS:g} ms are waited for it where
that can be set. The constant answer is as long as Fairlead's, by the same HTTP server: the ratio to it is the price of
everything that is done for an answer."""

NOT_RUN: Final = """\
- KServe with batching: its batcher is an agent beside the server in a pod, so there is none without Kubernetes.
- mlflow models serve and the naive application with batching: they have none.
- Batching peers with 1024 rows a request: there is nothing to join.
- MLServer has uvloop 0.21 instead of 0.23, with which its workers do not start.
- A Fairlead without metrics is not a setting: for that row the instruments of prometheus_client are emptied."""
