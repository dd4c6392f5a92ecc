"""Who said what about a model by an annotation."""

from typing import Any

from fairlead_operator.api import APPROVE_ANNOTATION, PROMOTE_ANNOTATION
from fairlead_operator.words import author
from tests.unit.operator.samples import RUNS, model, raw


def resource(annotations: dict[str, str], *wrote: tuple[str, str, str]) -> dict[str, Any]:
    """`wrote`: field manager, annotation and time."""
    managed = [
        {
            "manager": manager,
            "operation": "Update",
            "time": time,
            "fieldsV1": {"f:metadata": {"f:annotations": {".": {}, f"f:{annotation}": {}}}},
        }
        for manager, annotation, time in wrote
    ]
    found = raw()
    found["metadata"] |= {"annotations": annotations, "managedFields": managed}
    return found


def test_who_wrote_the_annotation_last_said_it() -> None:
    early, late = "2026-11-23T12:00:00Z", "2026-11-23T12:05:00Z"
    said = resource(
        {PROMOTE_ANNOTATION: "3"},
        ("kubectl-annotate", PROMOTE_ANNOTATION, early),
        ("argocd-controller", PROMOTE_ANNOTATION, late),
        ("fairlead", APPROVE_ANNOTATION, late),
    )
    third = model(model_name="fraud", model_version="3")
    assert author(said, PROMOTE_ANNOTATION, third) == "argocd-controller"
    assert author(said, APPROVE_ANNOTATION, third) is None, "nobody said that"
    assert author(said, PROMOTE_ANNOTATION, model(model_name="fraud", model_version="4")) is None
    assert author(said, "", third) is None


def test_the_run_may_be_named_too_and_nobody_may_be_known() -> None:
    assert author(resource({PROMOTE_ANNOTATION: RUNS[0]}), PROMOTE_ANNOTATION, model()) is None
    said = resource({PROMOTE_ANNOTATION: RUNS[0]}, ("kubectl", PROMOTE_ANNOTATION, ""))
    assert author(said, PROMOTE_ANNOTATION, model()) == "kubectl"
    plain = raw()
    plain["metadata"]["managedFields"] = [{"manager": "fairlead", "subresource": "status"}]
    assert author(plain, PROMOTE_ANNOTATION, model()) is None
