"""When a child is applied, and when it is better left alone."""

import copy
from dataclasses import replace
from typing import Any

import pytest

from fairlead_operator.api import Manifest, Reason
from fairlead_operator.apply import Children
from fairlead_operator.desired import Desired, desired
from fairlead_operator.desired.pods import Template, Trial
from fairlead_operator.desired.surroundings import Surroundings
from fairlead_operator.groups import Groups
from fairlead_operator.kinds import DEPLOYMENT, SCALED_OBJECT, SERVICE, Kind
from fairlead_operator.kube import RefusedError
from fairlead_operator.store import Store
from tests.unit.operator.fake import FakeCluster
from tests.unit.operator.samples import DEFAULTS, md, model

MANIFESTS = desired(md(), Template(model(), "predictor:1", 2), DEFAULTS)


class World:
    def __init__(self) -> None:
        self.cluster = FakeCluster()
        self.store = Store()
        self.now = 0.0
        self.groups = Groups(self.cluster, lambda: self.now)
        self.children = Children(self.cluster, self.store, self.groups)

    async def apply(self, wanted: Desired = MANIFESTS) -> Any:
        return await self.children.apply(md(), wanted)

    async def written(self, wanted: Desired = MANIFESTS) -> int:
        before = self.cluster.writes
        await self.apply(wanted)
        return self.cluster.writes - before

    def see(self) -> None:
        def seen(kind: Kind, event: str | None, obj: Manifest) -> None:
            (self.store.remove if event == "DELETED" else self.store.put)(kind, obj)

        self.cluster.deliver(seen)


async def test_what_did_not_change_is_not_sent_again() -> None:
    world = World()
    assert await world.written() == 4
    assert (await world.written(), world.cluster.reads) == (0, 0)


async def test_an_edit_is_answered_and_a_status_is_not() -> None:
    world = World()
    await world.apply()
    live = copy.deepcopy(world.cluster.deployments()[0])
    world.cluster.put(DEPLOYMENT, live | {"status": {"replicas": 2}})
    world.see()
    assert await world.written() == 0
    live["spec"]["revisionHistoryLimit"] = 17
    world.cluster.put(DEPLOYMENT, live)
    world.see()
    assert await world.written() == 1
    assert world.cluster.deployments()[0]["spec"]["revisionHistoryLimit"] == 2
    assert await world.written() == 0


async def test_a_new_process_sends_nothing_but_what_was_edited_meanwhile() -> None:
    world = World()
    await world.apply()
    world.children = Children(world.cluster, world.store, world.groups)
    assert await world.written() == 0

    live = copy.deepcopy(world.cluster.deployments()[0])
    live["spec"]["template"]["spec"]["containers"][0]["image"] = "by-hand:1"
    world.cluster.put(DEPLOYMENT, live)
    world.see()
    world.children = Children(world.cluster, world.store, world.groups)
    assert await world.written() == 1
    assert world.cluster.deployments()[0]["spec"]["template"]["spec"]["containers"][0]["image"] == "predictor:1"


async def test_a_new_process_takes_out_what_is_not_wanted_any_more() -> None:
    world = World()
    template = Template(model(), "predictor:1", 2)
    await world.children.apply(
        md(nodeSelector={"zone": "a"}), desired(md(nodeSelector={"zone": "a"}), template, DEFAULTS)
    )
    world.see()
    world.children = Children(world.cluster, world.store, world.groups)
    assert await world.written() == 1
    assert "nodeSelector" not in world.cluster.deployments()[0]["spec"]["template"]["spec"]


async def test_what_the_api_server_writes_otherwise_is_applied_once_a_process() -> None:
    world = World()
    apply = world.cluster.apply

    async def in_its_own_words(kind: Any, manifest: Any) -> Any:
        manifest = copy.deepcopy(manifest)
        if kind is DEPLOYMENT:
            manifest["spec"]["template"]["spec"]["containers"][0]["resources"] = {"limits": {"cpu": "500m"}}
        return await apply(kind, manifest)

    world.cluster.apply = in_its_own_words  # type: ignore[method-assign]
    half = md(resources={"limits": {"cpu": "0.5"}})
    manifests = desired(half, Template(model(), "predictor:1", 2), DEFAULTS)
    for expected in (4, 0):
        before = world.cluster.writes
        await world.children.apply(half, manifests)
        assert world.cluster.writes - before == expected


async def test_somebody_elses_object_is_left_alone_and_named() -> None:
    world = World()
    world.cluster.put(SERVICE, {"kind": "Service", "metadata": {"name": "fraud", "namespace": "ml"}, "spec": {}})
    obstacles = await world.apply()
    assert [(found.reason, "Service fraud" in found.message) for found in obstacles] == [(Reason.NAME_CONFLICT, True)]
    assert {kind for kind, _, _ in world.cluster.objects} == {child["kind"] for child in MANIFESTS.manifests}, (
        "the others are applied"
    )
    assert world.cluster.objects["Service", "ml", "fraud"]["spec"] == {}


async def test_what_took_a_childs_name_unseen_is_left_alone() -> None:
    """The watch has not told yet that the Service was deleted and that somebody made another."""
    world = World()
    await world.apply()
    world.see()
    world.cluster.remove(SERVICE, "ml", "fraud")
    world.cluster.put(SERVICE, {"kind": "Service", "metadata": {"name": "fraud", "namespace": "ml"}, "spec": {}})
    more = desired(md(), Template(model(), "predictor:1", 2), replace(DEFAULTS, egress_ports=(443,)))
    changed = [{**manifest, "spec": {**manifest["spec"], "x": 1}} for manifest in more.manifests]
    obstacles = await world.children.apply(md(), Desired(changed))
    assert [found.reason for found in obstacles] == [Reason.NAME_CONFLICT]
    assert world.cluster.objects["Service", "ml", "fraud"]["spec"] == {}


async def test_a_child_that_went_unseen_is_made_again() -> None:
    world = World()
    await world.apply()
    world.see()
    world.cluster.remove(SERVICE, "ml", "fraud")
    changed = [{**manifest, "spec": {**manifest["spec"], "x": 1}} for manifest in MANIFESTS.manifests]
    assert await world.children.apply(md(), Desired(changed)) == ()
    assert world.cluster.objects["Service", "ml", "fraud"]["spec"]["x"] == 1


async def test_a_child_that_lost_its_label_is_still_ours() -> None:
    world = World()
    await world.apply()
    world.see()
    live = copy.deepcopy(world.cluster.objects["Service", "ml", "fraud"])
    live["metadata"]["labels"] = {}
    world.cluster.put(SERVICE, live)
    world.store.remove(SERVICE, world.cluster.objects["Service", "ml", "fraud"])
    assert await world.apply() == ()
    assert world.cluster.objects["Service", "ml", "fraud"]["metadata"]["labels"]


@pytest.mark.parametrize(
    ("status", "reason"), [(422, Reason.INVALID_SPEC), (500, Reason.INVALID_SPEC), (403, Reason.APPLY_REFUSED)]
)
async def test_a_refusal_and_an_outage_are_obstacles_of_different_kinds(status: int, reason: Reason) -> None:
    world = World()

    async def refuse(kind: Any, manifest: Any) -> Any:
        raise RefusedError(status, "no")

    world.cluster.apply = refuse  # type: ignore[method-assign]
    assert {found.reason for found in await world.apply()} == {reason}

    world = World()
    world.cluster.down_for = 1
    (obstacle,) = await world.apply()
    assert (obstacle.reason, obstacle.passing) == (Reason.APPLY_FAILED, True)
    assert "connection refused" in obstacle.message


async def test_what_apply_cannot_mend_is_overwritten() -> None:
    world = World()
    await world.apply()
    edited = copy.deepcopy(world.cluster.objects[("Service", "ml", "fraud")])
    edited["spec"]["ports"][0]["port"] = 9999
    world.cluster.put(SERVICE, edited)
    world.see()
    apply, overwritten = world.cluster.apply, []

    async def refuse_first(kind: Any, manifest: Any) -> Any:
        if not overwritten:
            raise RefusedError(422, "two ports of one name")
        return await apply(kind, manifest)

    async def overwrite(kind: Any, manifest: Any) -> None:
        overwritten.append(manifest["spec"]["ports"][0]["port"])

    world.cluster.apply, world.cluster.overwrite = refuse_first, overwrite  # type: ignore[method-assign]
    assert await world.apply() == ()
    assert overwritten == [8000]


async def test_what_is_no_longer_wanted_is_deleted_unless_it_is_kept_or_somebody_elses() -> None:
    world = World()
    template, trial = Template(model(), "predictor:1", 2), Trial(model(), "predictor:1", 1)
    await world.children.apply(md(), desired(md(), template, DEFAULTS, trial))
    world.see()
    names = {(kind, name) for kind, _, name in world.cluster.objects}
    assert {("Deployment", "fraud-canary"), ("Service", "fraud-canary")} <= names

    await world.children.apply(md(), desired(md(), None, DEFAULTS, frozen=True))
    assert {(kind, name) for kind, _, name in world.cluster.objects} == names

    live = copy.deepcopy(world.cluster.objects[("Service", "ml", "fraud-canary")])
    live["metadata"]["ownerReferences"][0]["uid"] = "somebody else's"
    world.cluster.put(SERVICE, live)
    world.see()
    await world.children.apply(md(), MANIFESTS)
    world.see()
    gone = names - {(kind, name) for kind, _, name in world.cluster.objects}
    assert gone == {("Deployment", "fraud-canary")}
    assert await world.written() == 0


SCALED = md(autoscaling={"minReplicas": 2, "maxReplicas": 5})
AUTOSCALED = desired(
    SCALED,
    Template(model(), "predictor:1", None),
    DEFAULTS,
    around=Surroundings(prometheus_url="http://prometheus:9090"),
)


async def test_without_keda_everything_else_is_applied_and_it_is_noticed_when_it_comes() -> None:
    world = World()
    (obstacle,) = await world.apply(AUTOSCALED)
    assert obstacle.reason is Reason.AUTOSCALER_MISSING
    assert "helm install keda" in obstacle.message
    assert {kind for kind, _, _ in world.cluster.objects} == {
        "Deployment",
        "Service",
        "PodDisruptionBudget",
        "NetworkPolicy",
    }
    world.see()
    before = world.cluster.reads
    assert await world.written(AUTOSCALED) == 0
    assert world.cluster.reads == before, "it is not asked for at every turn"

    world.cluster.api_groups |= {"keda.sh"}
    world.now += 60
    assert await world.apply(AUTOSCALED) == ()
    assert ("ScaledObject", "ml", "fraud") in world.cluster.objects
    world.see()
    assert await world.written(AUTOSCALED) == 0

    world.cluster.api_groups -= {"keda.sh"}
    world.store.remove(SCALED_OBJECT, world.cluster.objects[("ScaledObject", "ml", "fraud")])
    assert [found.reason for found in await world.apply(AUTOSCALED)] == [Reason.AUTOSCALER_MISSING]


async def test_an_hpa_is_applied_without_its_metrics_too_but_their_lack_is_told() -> None:
    world = World()
    scaled = md(autoscaling={"maxReplicas": 5, "engine": "HPA"})
    wanted = desired(scaled, Template(model(), "predictor:1", None), DEFAULTS)
    (obstacle,) = await world.apply(wanted)
    assert "prometheus-adapter.enabled=true" in obstacle.message
    assert ("HorizontalPodAutoscaler", "ml", "fraud") in world.cluster.objects
    world.cluster.api_groups |= {"custom.metrics.k8s.io"}
    world.now += 60
    assert await world.apply(wanted) == ()


async def test_an_autoscaler_that_is_no_longer_wanted_goes() -> None:
    world = World()
    world.cluster.api_groups |= {"keda.sh"}
    await world.apply(AUTOSCALED)
    world.see()
    await world.apply()
    assert ("ScaledObject", "ml", "fraud") not in world.cluster.objects


async def test_pods_do_not_go_when_their_number_is_handed_to_an_autoscaler() -> None:
    world = World()
    world.cluster.api_groups |= {"keda.sh"}
    await world.apply()
    world.see()
    await world.apply(AUTOSCALED)
    (deployment,) = world.cluster.deployments()
    assert deployment["spec"]["replicas"] == 2

    world.see()
    world.cluster.put(DEPLOYMENT, {**deployment, "spec": deployment["spec"] | {"replicas": 4}})
    world.see()
    assert await world.written(AUTOSCALED) == 0, "the number is the autoscaler's"


async def test_no_pods_are_not_handed_over() -> None:
    """An autoscaler leaves a Deployment alone that was scaled to zero."""
    world = World()
    await world.apply(desired(md(), Template(model(), "predictor:1", 0), DEFAULTS))
    world.see()
    await world.apply(desired(SCALED, Template(model(), "predictor:1", None), DEFAULTS))
    (deployment,) = world.cluster.deployments()
    assert deployment["spec"]["replicas"] == 1


async def test_without_an_address_of_prometheus_the_setting_is_named() -> None:
    world = World()
    world.cluster.api_groups |= {"keda.sh"}
    wanted = desired(SCALED, Template(model(), "predictor:1", None), DEFAULTS)
    (obstacle,) = await world.apply(wanted)
    assert (obstacle.reason, "FAIRLEAD_OPERATOR_PROMETHEUS_URL" in obstacle.message) == (
        Reason.AUTOSCALER_MISSING,
        True,
    )


async def test_without_the_prometheus_operator_there_are_no_alerts_and_no_complaint(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World()
    promised = md(slo={"successPercent": "99.5"})
    wanted = desired(promised, Template(model(), "predictor:1", 2), DEFAULTS)
    with caplog.at_level("INFO"):
        assert [await world.apply(wanted) for _ in range(3)] == [(), (), ()]
    assert caplog.text.count("no API group monitoring.coreos.com") == 1
    world.cluster.api_groups |= {"monitoring.coreos.com"}
    world.now += 60
    assert await world.apply(wanted) == ()
    world.see()
    assert ("PrometheusRule", "ml", "fraud") in world.cluster.objects
    await world.apply()
    assert ("PrometheusRule", "ml", "fraud") not in world.cluster.objects


async def test_a_refused_autoscaler_is_about_the_autoscaler() -> None:
    """KEDA's webhook refuses a second autoscaler of one Deployment."""
    world = World()
    world.cluster.api_groups |= {"keda.sh"}
    apply = world.cluster.apply

    async def refuse(kind: Any, manifest: Any) -> Any:
        if kind is SCALED_OBJECT:
            raise RefusedError(403, "the workload is already managed by the hpa fraud")
        return await apply(kind, manifest)

    world.cluster.apply = refuse  # type: ignore[method-assign]
    (obstacle,) = await world.apply(AUTOSCALED)
    assert (obstacle.reason, obstacle.about) == (Reason.APPLY_REFUSED, "autoscaler")
