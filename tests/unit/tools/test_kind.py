"""Which Kubernetes `make up` brings, on kind and without it."""

from pathlib import Path

import pytest
import yaml

from tools import kind
from tools.cluster import CommandError, pinned
from tools.localcluster.binaries import KUBERNETES_VERSIONS

ROOT = Path(__file__).parents[3]


def minor(version: str) -> str:
    return version.rpartition(".")[0]


@pytest.mark.parametrize(("asked", "meant"), [("", "1.37.2"), ("1.34", "1.34.4"), ("1.34.4", "1.34.4")])
def test_a_minor_version_is_enough(asked: str, meant: str) -> None:
    assert pinned(asked, ("1.37.2", "1.34.4")) == meant


@pytest.mark.parametrize("asked", ["1.3", "1.34.5", "v1.34", "2"])
def test_what_is_not_pinned_is_refused_with_what_is(asked: str) -> None:
    with pytest.raises(CommandError, match=r"Pinned: KUBERNETES_VERSION=1\.37\.2 or 1\.34\.4"):
        pinned(asked, ("1.37.2", "1.34.4"))


def test_kind_and_the_local_cluster_have_the_same_minors_and_ci_tries_each() -> None:
    minors = [minor(version) for version in KUBERNETES_VERSIONS]
    assert [minor(version) for version in kind.NODES] == minors
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
    assert jobs["cluster"]["strategy"]["matrix"]["kubernetes"] == minors


def test_the_node_of_the_configuration_is_the_one_that_is_pinned_first() -> None:
    (node,) = yaml.safe_load((ROOT / "kind-config.yaml").read_text())["nodes"]
    assert node["image"] == next(iter(kind.NODES.values()))
