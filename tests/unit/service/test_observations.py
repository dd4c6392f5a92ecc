"""Our histograms are prometheus_client's, in numbers and in text."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from fairlead_service.observability.observations import Histograms

BOUNDS = (0.001, 0.5, 1.0, 2.5, 10.0)
TRACE = "0af7651916cd43dd8448eb211c80319c"
VALUES = st.floats(0, 100) | st.sampled_from([*BOUNDS, *(math.nextafter(bound, math.inf) for bound in BOUNDS)])


def samples(registry: CollectorRegistry) -> dict[str, list[Sample]]:
    """By family, of what a scrape would see."""
    text = generate_latest(registry).decode()
    return {
        family.name: [sample for sample in family.samples if not sample.name.endswith("_created")]
        for family in text_string_to_metric_families(text)
    }


@given(st.lists(st.tuples(st.sampled_from(["a", 'b"\n\\', ""]), VALUES, st.booleans())))
def test_histograms_are_prometheus_clients_own(observed: list[tuple[str, float, bool]]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    mine = Histograms("seconds", "Help.", ("kind",), BOUNDS, counter=("things", "Help."))
    ours.register(mine)
    reference = Histogram("seconds", "Help.", ("kind",), buckets=BOUNDS, registry=theirs)
    traced: set[str] = set()
    for kind, value, sampled in observed:
        mine.labels(kind).observe(value, TRACE if sampled else None)
        reference.labels(kind).observe(value)
        traced |= {kind} if sampled else set()
    found, expected = samples(ours), samples(theirs)
    assert [(s.name, s.labels, s.value) for s in found["seconds"]] == [
        (s.name, s.labels, s.value) for s in expected["seconds"]
    ]
    counted = {s.labels["kind"]: s for s in found["things"]}
    assert {kind: s.value for kind, s in counted.items()} == {
        s.labels["kind"]: s.value for s in expected["seconds"] if s.name == "seconds_count"
    }
    assert {kind for kind, s in counted.items() if s.exemplar} == traced
    for sample in found["seconds"]:
        if sample.exemplar is not None:
            assert sample.labels["kind"] in traced
            assert sample.exemplar.labels == {"trace_id": TRACE}
            assert sample.exemplar.value <= float(sample.labels["le"])


def test_each_bucket_keeps_its_last_exemplar() -> None:
    registry, histograms = CollectorRegistry(), Histograms("s", "Help.", (), BOUNDS, counter=("n", "Help."))
    registry.register(histograms)
    for value, trace_id in ((0.2, "1" * 32), (0.3, "2" * 32), (0.4, None), (5.0, "3" * 32)):
        histograms.labels().observe(value, trace_id)
    found = samples(registry)
    exemplars = {s.labels["le"]: s.exemplar for s in found["s"] if s.exemplar is not None}
    assert {le: exemplar.labels["trace_id"] for le, exemplar in exemplars.items()} == {
        "0.5": "2" * 32,
        "10.0": "3" * 32,
    }
    last = found["n"][0].exemplar
    assert last is not None
    assert (last.labels["trace_id"], last.value) == ("3" * 32, 5.0)


def test_without_labels_there_is_a_series_from_the_start() -> None:
    registry = CollectorRegistry()
    registry.register(Histograms("s", "Help.", (), BOUNDS))
    assert [s.value for s in samples(registry)["s"]] == [0.0] * (len(BOUNDS) + 3)


def test_the_sum_is_the_sum() -> None:
    registry, histograms = CollectorRegistry(), Histograms("s", "Help.", (), BOUNDS)
    registry.register(histograms)
    for _ in range(1000):
        histograms.labels().observe(0.1)
    assert registry.get_sample_value("s_sum") == pytest.approx(100)
    assert registry.get_sample_value("s_count") == 1000
