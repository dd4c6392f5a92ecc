"""What a check or `make up` needs, in which order, and how long it takes."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tools import budget, prepare
from tools.localcluster import binaries
from tools.localcluster.paths import LocalClusterError
from tools.localcluster.progress import Say
from tools.localcluster.stack import install
from tools.prepare import USES, Item, Lane, Machine, Numbering, Preparation
from tools.stages import announcement
from tools.tiers import TIERS

ROOT = Path(__file__).parents[3]
LOCAL = Machine()
KIND = Machine(docker=True, has_kind=True)
TABLE = budget.load()


def names(*uses: str, machine: Machine = LOCAL) -> list[str]:
    return [item.name for item in prepare.items(uses, machine)]


def programs(*uses: str, machine: Machine = LOCAL) -> set[str]:
    wanted = set(names(*uses, machine=machine))
    modules = [module for version in binaries.KUBERNETES_VERSIONS for module in binaries.modules(version)]
    return {program for module in modules if module.name in wanted for program, _ in module.programs}


def test_every_program_of_a_whole_check_is_prepared_and_no_other() -> None:
    stack = {program for part in (*install.PARTS, install.ADAPTER) for program in part.programs}
    tiers = {program for tier in TIERS.values() for program in tier.binaries}
    used = {"helm", "actionlint", "kube-score", *tiers, *binaries.CONTROL_PLANE, *binaries.NODE, *stack}
    assert programs(*USES) == used
    assert {"argo-rollouts", "kwok"}.isdisjoint(used)


def test_what_is_needed_first_comes_first_and_everything_once() -> None:
    ordered = names(*reversed(USES))
    assert len(ordered) == len(set(ordered))
    before = [("kube-score", "etcd"), ("kubernetes-1.37", "prometheus"), ("prometheus", "coredns"), ("coredns", "keda")]
    before += [("jaeger", "prometheus-adapter"), ("packages-cluster", "image-base"), ("image-base", "image-service")]
    for first, second in before:
        assert ordered.index(first) < ordered.index(second)


def test_the_cluster_has_the_version_that_is_asked_for_and_the_tests_the_default() -> None:
    older = Machine(kubernetes="1.34.4")
    assert "kubernetes-1.34" in names("cluster", machine=older)
    assert "kubernetes-1.37" not in names("cluster", machine=older)
    assert {"kubernetes-1.34", "kubernetes-1.37"} <= set(names("test", "cluster", machine=older))


def test_on_kind_no_cluster_is_built() -> None:
    assert names("cluster", "stack", machine=Machine("1.37.0", docker=True, has_kind=True, own_tools=True)) == [
        "image-service", "image-operator", "image-mlflow",
    ]  # fmt: skip
    assert programs("cluster", "stack", "adapter", machine=KIND) >= {"kubectl", "helm"}
    assert {"prometheus", "coredns"}.isdisjoint(programs("cluster", "stack", "adapter", machine=KIND))


@pytest.mark.parametrize("version", binaries.KUBERNETES_VERSIONS)
def test_everything_has_an_estimate(version: str) -> None:
    for machine in (Machine(version), Machine(version, docker=True), KIND):
        assert set(names(*USES, machine=machine)) <= TABLE.estimates.keys()


def item(name: str, lane: Lane = Lane.PROGRAMS, make: object = None, there: bool = False) -> Item:
    return Item(name, lane, lambda: there, make if callable(make) else lambda _: None)


def test_the_two_lanes_overlap() -> None:
    assert prepare.seconds([], TABLE) == 0
    assert prepare.seconds([item("etcd"), item("helm")], TABLE) == TABLE.estimates["etcd"] + TABLE.estimates["helm"]
    both = [item("kubernetes-1.37"), item("image-base", Lane.IMAGES)]
    assert prepare.seconds(both, TABLE) == TABLE.estimates["kubernetes-1.37"]


def test_the_share_that_is_missing_is_between_nothing_and_all() -> None:
    every = [item("etcd"), item("helm"), item("image-base", Lane.IMAGES)]
    assert prepare.share([], every, TABLE) == 0
    assert 0 < prepare.share(every[:1], every, TABLE) < 1
    assert prepare.share(every, every, TABLE) == 1


def test_only_what_is_missing_is_made() -> None:
    assert [one.name for one in prepare.missing([item("etcd", there=True), item("helm")])] == ["helm"]


def test_the_first_line_has_the_time_and_what_is_made() -> None:
    line = announcement("A cluster", [item("kubernetes-1.37")], ["up"], TABLE, 2)
    minutes = round(2 * (TABLE.estimates["kubernetes-1.37"] + TABLE.estimates["up"]) / 60)
    assert f"About {minutes} minutes" in line
    assert "kubernetes-1.37" in line
    assert announcement("A cluster", [], ["up"], TABLE, 1) == "A cluster. Everything is built: about a minute"


def test_a_failure_does_not_keep_the_rest_from_being_made() -> None:
    made, printed = list[str](), list[str]()

    def fail(_: Say) -> None:
        raise LocalClusterError("no network")

    found = [item("etcd", make=fail), item("helm", make=lambda _: made.append("helm"))]
    found += [item("image-base", Lane.IMAGES, lambda say: say("building"))]
    preparation = Preparation(found, Numbering(3), printed.append)
    preparation.start()
    with pytest.raises(LocalClusterError, match="etcd: no network"):
        preparation.wait()
    assert made == ["helm"]
    assert any(line.endswith("of 3: building") for line in printed)
    assert any(line.endswith("etcd failed: no network") for line in printed)


def test_the_lanes_go_on_side_by_side_and_each_in_order() -> None:
    other_began, made = threading.Event(), list[str]()

    def wait(_: Say) -> None:
        assert other_began.wait(10)
        made.append("etcd")

    found = [item("etcd", make=wait), item("helm", make=lambda _: made.append("helm"))]
    found += [item("image-base", Lane.IMAGES, lambda _: other_began.set())]
    preparation = Preparation(found, Numbering(3), lambda _: None)
    preparation.start()
    preparation.wait()
    assert made == ["etcd", "helm"]


def test_after_the_end_nothing_more_is_begun() -> None:
    began, go_on, made = threading.Event(), threading.Event(), list[str]()

    def slow(_: Say) -> None:
        began.set()
        assert go_on.wait(10)
        made.append("etcd")

    preparation = Preparation(
        [item("etcd", make=slow), item("helm", make=lambda _: made.append("helm"))], Numbering(2), lambda _: None
    )
    preparation.start()
    assert began.wait(10)
    preparation.stop()
    go_on.set()
    preparation.end()
    assert made == ["etcd"]


def test_it_works_before_there_is_a_virtual_environment() -> None:
    """`make down` and `.ci/run` call these with the system's Python."""
    modules = (
        "tools.prepare, tools.down, tools.audit, tools.ci, tools.compiler, tools.status, tools.localcluster.__main__"
    )
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {modules}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
