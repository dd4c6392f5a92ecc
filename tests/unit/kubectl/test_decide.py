"""`promote`, `abort`, `rollback`: what is changed, and what is refused instead."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_kubectl import decide
from fairlead_kubectl.decide import Action, AliasMove, RefusedError
from tests.unit.kubectl.samples import BETTER, GOOD, OLDER, condition, resource, snapshot, stalled

CANARY = {"runID": BETTER, "modelName": "fraud", "modelVersion": "7", "step": 1}
ROLLING = {"runID": BETTER}
REPLACED = {"runID": OLDER, "modelVersion": "5", "verdict": "Replaced"}
SERVING = {"runID": GOOD, "modelName": "fraud", "modelVersion": "6"}


def of(model: dict[str, Any], *history: dict[str, Any], **status: Any) -> Any:
    return snapshot(resource(spec={"model": model}, history=list(history), serving=SERVING, **status))


def test_a_canary_is_named_by_its_version_as_people_read_it() -> None:
    trial = of({"uri": "models:/fraud@champion"}, candidate=CANARY)
    assert decide.promote(trial).patch == {"metadata": {"annotations": {"fairlead.dev/promote": "7"}}}
    assert decide.abort(trial).patch == {"metadata": {"annotations": {"fairlead.dev/abort": "7"}}}


def test_a_run_without_a_version_is_named_by_its_id() -> None:
    trial = of({"runID": BETTER}, candidate={"runID": BETTER, "step": 0})
    assert decide.promote(trial).patch["metadata"]["annotations"] == {"fairlead.dev/promote": BETTER}


def test_what_waits_for_approval_is_approved() -> None:
    message = "fraud version 7 is available: kubectl annotate modeldeployment fraud fairlead.dev/approve=7"
    found = decide.promote(snapshot(stalled("UpdateAvailable", message)))
    assert found.patch["metadata"]["annotations"] == {"fairlead.dev/approve": "7"}


@pytest.mark.parametrize("candidate", [None, ROLLING, {**CANARY, "promotedAt": "2026-11-26T11:00:00Z"}])
def test_only_a_canary_can_be_decided(candidate: dict[str, Any] | None) -> None:
    trial = of({"runID": BETTER}, **({"candidate": candidate} if candidate else {}))
    for command in (decide.promote, decide.abort):
        with pytest.raises(RefusedError):
            command(trial)


@pytest.mark.parametrize(
    ("model", "wants"),
    [
        ({"runID": GOOD}, {"runID": OLDER, "uri": None}),
        ({"uri": "models:/fraud/6"}, {"uri": "models:/fraud/5", "runID": None}),
        ({"uri": f"runs:/{GOOD}/forest/a"}, {"uri": f"runs:/{OLDER}/forest/a", "runID": None}),
    ],
    ids=["run", "version", "path"],
)
def test_going_back_keeps_the_way_a_model_is_named(model: dict[str, Any], wants: dict[str, Any]) -> None:
    found = decide.rollback(of(model, REPLACED))
    assert isinstance(found, Action)
    assert found.patch == {"spec": {"model": wants}}


def test_going_back_to_a_model_without_a_run_names_the_logged_model() -> None:
    logged = "m-" + OLDER
    for model in ({"runID": GOOD}, {"uri": f"runs:/{GOOD}/model/"}, {"uri": f"models:/m-{GOOD}"}):
        found = decide.rollback(of(model, REPLACED | {"runID": logged, "modelVersion": None}))
        assert isinstance(found, Action)
        assert found.patch == {"spec": {"model": {"uri": f"models:/{logged}", "runID": None}}}


def test_the_model_to_go_back_to_is_the_newest_that_was_good() -> None:
    rejected = {"runID": BETTER, "verdict": "Rejected: AnalysisFailed"}
    assert decide.target(of({"runID": GOOD}, rejected, {**REPLACED, "runID": GOOD}, REPLACED))["runID"] == OLDER


def test_going_back_from_what_did_not_make_it_leads_to_what_serves() -> None:
    """Not to the model before it: nobody asked to leave that one."""
    rejected = [{"runID": BETTER, "reason": "AnalysisFailed"}]
    assert decide.target(of({"runID": BETTER}, REPLACED, candidate=ROLLING))["runID"] == GOOD
    assert decide.target(of({"runID": BETTER}, REPLACED, rejected=rejected))["runID"] == GOOD


def test_a_canary_is_rather_aborted() -> None:
    found = decide.rollback(of({"runID": BETTER}, candidate=CANARY))
    assert isinstance(found, Action)
    assert "abort" in found.warnings[0]


def test_without_a_past_there_is_no_way_back() -> None:
    with pytest.raises(RefusedError, match="historyLimit"):
        decide.rollback(of({"runID": GOOD}))


def test_an_alias_has_two_ways_back_and_somebody_has_to_choose() -> None:
    follows = of({"uri": "models:/fraud@champion"}, REPLACED)
    with pytest.raises(RefusedError, match=r"(?s)--move-alias.*--pin"):
        decide.rollback(follows)
    moved = decide.rollback(follows, move_alias=True)
    assert isinstance(moved, AliasMove)
    assert (moved.name, moved.alias, moved.version) == ("fraud", "champion", "5")
    pinned = decide.rollback(follows, pin=True)
    assert isinstance(pinned, Action)
    assert pinned.patch["spec"]["model"]["uri"] == "models:/fraud/5"
    assert "champion" in pinned.warnings[0]
    with pytest.raises(RefusedError, match="no alias"):
        decide.rollback(of({"runID": GOOD}, REPLACED), move_alias=True)


def test_an_alias_cannot_name_a_run_that_is_no_version() -> None:
    unversioned = {"runID": OLDER, "verdict": "Replaced"}
    with pytest.raises(RefusedError, match="--pin"):
        decide.rollback(of({"uri": "models:/fraud@champion"}, unversioned), move_alias=True)


WROTE = {"f:spec": {"f:model": {}}}


@pytest.mark.parametrize(
    ("metadata", "tool"),
    [
        ({"managedFields": [{"manager": "argocd-controller", "fieldsV1": WROTE}]}, "Argo CD"),
        ({"managedFields": [{"manager": "kustomize-controller", "fieldsV1": WROTE}]}, "Flux"),
        ({"managedFields": [{"manager": "helm", "fieldsV1": WROTE}]}, "Helm"),
        ({"annotations": {"argocd.argoproj.io/tracking-id": "x"}}, "Argo CD"),
        ({"labels": {"kustomize.toolkit.fluxcd.io/name": "x"}}, "Flux"),
    ],
)
def test_who_applies_the_resource_from_git_is_named(metadata: dict[str, Any], tool: str) -> None:
    md = resource(metadata=metadata, history=[REPLACED], serving=SERVING)
    found = decide.rollback(snapshot(md))
    assert isinstance(found, Action)
    assert tool in found.warnings[0]
    assert "undo" in found.warnings[0]


def test_others_who_wrote_are_no_gitops() -> None:
    fields = [
        {"manager": "kubectl", "fieldsV1": WROTE},
        {"manager": "fairlead", "fieldsV1": {"f:status": {}}},
        {"manager": "argocd-controller", "fieldsV1": {"f:metadata": {}}},
    ]
    assert decide.managers(resource(metadata={"managedFields": fields})) == set()


RUNS = st.sampled_from([GOOD, BETTER, OLDER])
ENTRIES = st.lists(
    st.fixed_dictionaries({"runID": RUNS, "verdict": st.sampled_from(["Replaced", "Rejected: LoadFailed"])}), max_size=5
)


@given(ENTRIES, st.lists(RUNS, max_size=2), st.none() | RUNS)
def test_nobody_goes_back_to_what_was_not_good(entries: list[Any], rejected: list[str], candidate: str | None) -> None:
    trial = {"candidate": {"runID": candidate}} if candidate else {}
    md = of({"runID": BETTER}, *entries, rejected=[{"runID": run, "reason": "LoadFailed"} for run in rejected], **trial)
    try:
        found = decide.target(md)["runID"]
    except RefusedError:
        return
    if found == GOOD:
        assert {*rejected, candidate} - {GOOD, None}, "it serves and is wanted: that is no way back"
    else:
        assert any(entry["runID"] == found and entry["verdict"] == "Replaced" for entry in entries)


def test_nothing_on_trial_says_what_there_is() -> None:
    with pytest.raises(RefusedError, match="fraud serves"):
        decide.promote(snapshot(resource(condition("UpToDate", "True", "UpToDate", "fraud serves"))))
