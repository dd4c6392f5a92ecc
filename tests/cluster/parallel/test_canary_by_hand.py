"""What people and aliases do in the middle of a canary. Users notice none of it."""

from typing import Any

from tests.cluster.models import Models
from tests.cluster.namespaces import OWNED_KINDS, OWNER_LABEL, Namespace

LONG = {"strategy": "Canary", "steps": [0, 50], "stepSeconds": 3600, "minRequests": 20}
DARK = LONG | {"stepSeconds": 6, "steps": [0], "maxDisagreementPercent": "5", "failureThreshold": 1}


def deploy(namespace: Namespace, name: str, run_id: str, rollout: dict[str, Any], **spec: Any) -> None:
    namespace.deploy(name, run_id, rollout=rollout, replicas=1, **spec)


def on_trial(namespace: Namespace, models: Models, name: str, rollout: dict[str, Any]) -> None:
    """A canary that has reached its first step with traffic."""
    deploy(namespace, name, models.good, rollout)
    namespace.await_(name, "UpToDate")
    deploy(namespace, name, models.better, rollout)
    namespace.await_(name, "{.status.candidate.weightPercent}=50")


def test_deleted_in_the_middle_nothing_is_left(namespace: Namespace, models: Models) -> None:
    on_trial(namespace, models, "gone", LONG)
    namespace.kubectl("delete", "modeldeployment", "gone", "--timeout=60s")
    selector = f"--selector={OWNER_LABEL}=gone"
    for kind in OWNED_KINDS.split(","):
        namespace.kubectl("wait", "--for=delete", kind, selector, "--timeout=60s")
    assert not namespace.kubectl("get", OWNED_KINDS, selector, "--output=name").strip()


def test_an_alias_that_moves_on_in_the_middle_takes_the_trial_along(namespace: Namespace, models: Models) -> None:
    name = f"moving-{namespace.name}"
    first = models.version(name, alias="champion")
    second, third = models.version(name), models.version(name)
    spec = {"model": {"uri": f"models:/{name}@champion"}}
    for resource in ("one", "two"):
        deploy(namespace, resource, first, LONG, **spec)
        namespace.kubectl("annotate", "modeldeployment", resource, "fairlead.dev/promote=3")
        namespace.await_(resource, "UpToDate")
    models.move_alias(name, "champion", "2")
    namespace.await_("one", f"{{.status.candidate.runID}}={second}")
    namespace.await_("one", "{.status.candidate.weightPercent}=50")
    models.move_alias(name, "champion", "3")
    for resource in ("one", "two"):
        namespace.await_(resource, f"{{.status.serving.runID}}={third}")
    served = {entry["runID"] for entry in namespace.get("one")["status"]["history"]}
    assert second not in served
    place = f"fairlead.{namespace.name}.one"
    assert models.tags(name, "3")[place] == "Serving"
    assert models.tags(name, "1")[place] == "Replaced"


def test_a_version_that_was_taken_back_says_so_in_mlflow_and_is_not_tried_again(
    namespace: Namespace, models: Models
) -> None:
    name = f"wrong-{namespace.name}"
    models.version(name, alias="champion")
    labels = ["malignant" if label == "benign" else "benign" for label in models.data[1]]
    wrong = models.version(name, target=labels)
    deploy(namespace, "verdict", wrong, DARK, model={"uri": f"models:/{name}@champion"})
    namespace.await_("verdict", "UpToDate")
    models.move_alias(name, "champion", "2")
    namespace.await_("verdict", "Stalled")
    told = models.tags(name, "2")[f"fairlead.{namespace.name}.verdict"]
    assert told.startswith("RolledBack: AnalysisFailed")
    assert "disagreement" in told
    namespace.kubectl("annotate", "modeldeployment", "verdict", "example.com/touched=yes")
    assert namespace.get("verdict")["status"].get("candidate") is None
