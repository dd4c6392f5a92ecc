"""Measures candidates: answers the questions that a plan asks, in the background, and wakes the resource.

A step with enough requests is judged by what Prometheus saw of them. Else, and for the dark step, the model's own input
example (with recent rows, where those are kept) is sent to candidate and serving pods alike, at the same time.
"""

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Final, Protocol

from fairlead_operator import checks, tracing
from fairlead_operator.checks import Evidence, Measurement, Pod, Question, Sample
from fairlead_operator.desired.access import Contact
from fairlead_operator.pods import AnswerError, PodError
from fairlead_operator.prometheus import PrometheusError
from fairlead_operator.reports import Info, Predictions, Row, Samples
from fairlead_operator.store import Key

logger = logging.getLogger(__name__)

MEASURE_SECONDS: Final = 60.0
"""At most for one answer: what has not been measured by then is unavailable."""
AT_A_TIME: Final = 4
"""Replayed requests under way, of one track: a little load, not a load test."""
NO_PROMETHEUS: Final = (
    "no Prometheus is configured; set FAIRLEAD_OPERATOR_PROMETHEUS_URL (the chart's operator.prometheus.url)"
)


class Traffic(Protocol):
    async def sample(self, namespace: str, pods: Sequence[str], seconds: int) -> Sample: ...


class Replays(Protocol):
    async def info(self, ip: str, contact: Contact) -> Info: ...
    async def samples(self, ip: str, rows: int, contact: Contact) -> Samples: ...
    async def predict(
        self, ip: str, rows: Sequence[Row], contact: Contact, columns: Sequence[str] | None = None
    ) -> Predictions: ...


class Analyst:
    """One question under way for each resource; its answer is kept until another one is there."""

    def __init__(
        self, traffic: Traffic | None, pods: Replays, clock: Callable[[], datetime], wake: Callable[[Key], None]
    ) -> None:
        self._traffic, self._pods, self._clock, self._wake = traffic, pods, clock, wake
        self._asked: dict[Key, tuple[str, asyncio.Task[None]]] = {}
        self._answers: dict[Key, Measurement] = {}

    def answer(self, key: Key) -> Measurement | None:
        return self._answers.get(key)

    def ask(self, key: Key, question: Question) -> None:
        """Begins to measure, unless that is under way; `wake` is called when the answer is there."""
        known = self._asked.get(key)
        if known is not None:
            if known[0] == question.id:
                return
            known[1].cancel()
        self._asked[key] = question.id, asyncio.create_task(self._measure(key, question))

    def forget(self, key: Key) -> None:
        """Nobody waits for an answer any more."""
        self._answers.pop(key, None)
        if (known := self._asked.pop(key, None)) is not None:
            known[1].cancel()

    async def close(self) -> None:
        tasks = [task for _, task in self._asked.values()]
        for key in list(self._asked):
            self.forget(key)
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _measure(self, key: Key, question: Question) -> None:
        try:
            with tracing.work("measure", *key):
                async with asyncio.timeout(MEASURE_SECONDS):
                    evidence = await self._evidence(question)
        except (PrometheusError, PodError) as error:
            evidence = Evidence(problem=str(error))
        except TimeoutError:
            evidence = Evidence(problem=f"measuring took longer than {MEASURE_SECONDS:.0f} s")
        except Exception:
            logger.exception("Measuring %s/%s failed", *key)
            evidence = Evidence(problem="measuring failed; the operator's log says why")
        self._answers[key] = checks.judge(question, evidence, self._clock().replace(microsecond=0))
        self._wake(key)

    async def _evidence(self, question: Question) -> Evidence:
        if question.dark:
            return await self._replay(question, question.min_requests)
        if self._traffic is None:
            return Evidence(problem=NO_PROMETHEUS)
        mine, theirs = await asyncio.gather(
            *(
                self._traffic.sample(question.namespace, [pod.name for pod in pods], question.window_seconds)
                for pods in (question.candidate, question.serving)
            )
        )
        missing = max(0, question.min_requests - int(mine.requests))
        if not missing and question.max_disagreement_percent is None:
            return Evidence(mine, theirs)
        replayed = await self._replay(question, missing)
        if not missing:
            return Evidence(mine, theirs, replayed.disagreement_percent, replayed.problem)
        assert replayed.candidate is not None
        assert replayed.serving is not None
        return Evidence(
            _together(mine, replayed.candidate),
            _together(theirs, replayed.serving),
            replayed.disagreement_percent,
            replayed.problem,
        )

    async def _replay(self, question: Question, requests: int) -> Evidence:
        """At least `requests` requests of one row to each track, and each row once."""
        info = await self._pods.info(question.candidate[0].ip, question.contact)
        rows, columns = await self._rows(question, info)
        if not rows:
            problem = (
                "the model has no input example to replay: log it with one, set rollout.replaySamples, "
                "or promote it by annotation"
            )
            return Evidence(problem=problem)
        order = list(itertools.islice(itertools.cycle(range(len(rows))), max(requests, len(rows))))
        with tracing.call("replay", {"requests": str(len(order))}):
            mine, theirs = await asyncio.gather(
                self._send(_Replayed(), question.candidate, question.contact, rows, columns, order),
                self._send(_Replayed(may_refuse=True), question.serving, question.contact, rows, columns, order),
            )
        both = [row for row in mine.answers if row in theirs.answers]
        apart = checks.disagreement(
            [mine.answers[row] for row in both], [theirs.answers[row] for row in both], info.task == "classification"
        )
        return Evidence(mine.sample, theirs.sample, apart)

    async def _rows(self, question: Question, info: Info) -> tuple[list[Row], tuple[str, ...] | None]:
        """The candidate's input example and what users sent lately, as rows of the candidate's features."""
        rows = list(info.input_example or ())
        if question.replay_samples and question.serving:
            pod = question.serving[0]
            kept = await self._pods.samples(pod.ip, question.replay_samples, question.contact)
            rows += _reordered(kept, info.feature_names, len(rows[0]) if rows else None)
        return rows, info.feature_names

    async def _send(
        self,
        replayed: "_Replayed",
        pods: Sequence[Pod],
        contact: Contact,
        rows: Sequence[Row],
        columns: Sequence[str] | None,
        order: Sequence[int],
    ) -> "_Replayed":
        """One row a request, to the pods in turn."""
        gate = asyncio.Semaphore(AT_A_TIME)

        async def one(number: int, row: int) -> None:
            pod = pods[number % len(pods)]
            async with gate:
                await replayed.note(row, self._pods.predict(pod.ip, [rows[row]], contact, columns))

        if pods:
            await asyncio.gather(*(one(number, row) for number, row in enumerate(order)))
        return replayed


class _Replayed:
    """What became of the requests to one track. `may_refuse`: a model that serves may have other features than the
    candidate, whose rows it then refuses; that says nothing of how it serves."""

    def __init__(self, may_refuse: bool = False) -> None:
        self._may_refuse = may_refuse
        self.answers: dict[int, checks.Answer] = {}
        """By row; the first answer to each."""
        self._seconds: list[float] = []
        self._failed = 0

    async def note(self, row: int, request: Awaitable[Predictions]) -> None:
        try:
            answer = await request
        except PodError as error:
            refused = isinstance(error, AnswerError) and 400 <= error.status < 500 and not error.shed
            self._failed += not (refused and self._may_refuse)
        else:
            self._seconds.append(answer.seconds)
            self.answers.setdefault(row, answer.predictions)

    @property
    def sample(self) -> Sample:
        p95 = 1000 * checks.percentile(self._seconds, 0.95) if self._seconds else None
        return Sample(len(self._seconds) + self._failed, self._failed, p95)


def _together(traffic: Sample, replayed: Sample) -> Sample:
    """Both count; the times are those of the replay, which are more, and measured alike on both tracks."""
    return Sample(traffic.requests + replayed.requests, traffic.failed + replayed.failed, replayed.p95_milliseconds)


def _reordered(kept: Samples, features: Sequence[str] | None, width: int | None) -> list[Row]:
    """Kept rows in the candidate's order of features: by name where both models have names, else as they are. None if
    the candidate has other features, or `width` of them and the rows have not."""
    if kept.columns is None or features is None:
        return [row for row in kept.features if width in (None, len(row))]
    places: Mapping[str, int] = {name: place for place, name in enumerate(kept.columns)}
    if set(places) != set(features):
        return []
    return [tuple(row[places[name]] for name in features) for row in kept.features]
