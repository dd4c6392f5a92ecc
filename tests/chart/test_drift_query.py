"""What the operator asks Prometheus about drift, answered by Prometheus' own engine."""

from pathlib import Path

from fairlead_operator.desired import signals
from fairlead_operator.drift import NAMED, OVER_PSI
from tests.chart.promtool import History

QUERY = signals.drift(OVER_PSI, NAMED)


def series(name: str, model: str, value: float, pod: str = "a", track: str = "stable", **more: str) -> dict[str, str]:
    labels = {"namespace": "ml", "model_deployment": model, "pod": pod, "track": track, "job": "x"} | more
    return {name + written(labels): f"{value}x5"}


def written(labels: dict[str, str]) -> str:
    return "{" + ",".join(f'{key}="{label}"' for key, label in labels.items()) + "}"


def features(model: str, pod: str = "a", track: str = "stable", **values: float) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in values.items():
        found |= series("feature_drift_psi", model, value, pod, track, feature=name)
    return found


def sample(model: str, part: str, **more: str) -> str:
    return written({"namespace": "ml", "model_deployment": model, "part": part} | more)


def test_a_healthy_model_is_one_sample(tmp_path: Path) -> None:
    well = features("fraud", a=0.01, b=0.19) | series("prediction_drift_psi", "fraud", 0.05)
    well |= series("drift_sample_rows", "fraud", 900)
    History(well).expect(QUERY, "5m", {sample("fraud", "worst"): 0.19}).check(tmp_path)


def test_the_worst_of_all_pods_counts_and_the_highest_are_named(tmp_path: Path) -> None:
    drifting = features("fraud", a=0.1, b=0.3, c=0.5, d=0.22, e=0.21) | features("fraud", "b", a=0.6, b=0.1)
    drifting |= series("prediction_drift_psi", "fraud", 0.3) | series("prediction_drift_psi", "fraud", 0.1, "b")
    drifting |= series("drift_sample_rows", "fraud", 1000) | series("drift_sample_rows", "fraud", 250, "b")
    expected = {
        sample("fraud", "worst"): 0.6,
        sample("fraud", "feature", feature="a"): 0.6,
        sample("fraud", "feature", feature="c"): 0.5,
        sample("fraud", "feature", feature="b"): 0.3,
        sample("fraud", "predictions"): 0.3,
        sample("fraud", "rows"): 250.0,
    }
    History(drifting).expect(QUERY, "5m", expected).check(tmp_path)


def test_only_predictions_may_drift(tmp_path: Path) -> None:
    found = features("fraud", a=0.1) | series("prediction_drift_psi", "fraud", 0.4)
    expected = {sample("fraud", "worst"): 0.4, sample("fraud", "predictions"): 0.4}
    History(found).expect(QUERY, "5m", expected).check(tmp_path)


def test_candidates_and_other_models_are_apart(tmp_path: Path) -> None:
    found = features("fraud", a=0.1) | features("fraud", "b", "candidate", a=2.0) | features("churn", a=0.15)
    found |= series("prediction_drift_psi", "fraud", 2.0, "b", "candidate")
    expected = {sample("fraud", "worst"): 0.1, sample("churn", "worst"): 0.15}
    History(found).expect(QUERY, "5m", expected).check(tmp_path)


def test_nothing_measured_is_nothing(tmp_path: Path) -> None:
    History({"up": "1x5"}).expect(QUERY, "5m", {}).check(tmp_path)
