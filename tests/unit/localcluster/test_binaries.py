"""Cache keys, what is asked of the cache, and messages when something can't be built."""

import os
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tools.localcluster import binaries, building, paths, progress
from tools.localcluster.building import Module
from tools.localcluster.paths import LocalClusterError

GO = """#!/bin/sh
echo called >> "$CALLS"
if [ "$1" = env ]; then echo go1.99.0; exit 0; fi
if [ "$1" = list ]; then echo "$DOWNLOADED"; exit 0; fi
sleep 0.3
while [ "$1" != -o ]; do shift; done
out=$2; shift 2
case $out in
  */) for package; do echo "$package" > "$out${package##*/}"; done ;;
  *) echo program > "$out" ;;
esac
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Module:
    """A module named `tool` with a go.mod, in a world of its own."""
    monkeypatch.setattr(paths, "MODULES", tmp_path / "modules")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source = tmp_path / "modules" / "tool"
    source.mkdir(parents=True)
    (source / "go.mod").write_text("module x\n\ngo 1.26.0\n")
    return Module("tool", (("tool", "."),))


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `go` that builds in 0.3 s, and the file where it counts its calls."""
    fake = tmp_path / "bin" / "go"
    fake.parent.mkdir()
    fake.write_text(GO)
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    return tmp_path / "calls"


@pytest.mark.parametrize("name", ["go.mod", "go.sum", "main.go"])
def test_the_key_changes_with_every_pin_and_source(module: Module, name: str) -> None:
    before = module.key
    with (module.source / name).open("a") as file:
        file.write("// more\n")
    assert module.key != before


def test_the_key_ignores_other_files(module: Module) -> None:
    before = module.key
    (module.source / "README.md").write_text("words")
    assert module.key == before


def test_the_key_changes_with_flags_and_programs(module: Module) -> None:
    assert Module("tool", (("tool", "."),), "-s").key != module.key
    assert Module("tool", (("tool", "./cmd"),)).key != module.key


def test_the_key_changes_with_tags_and_crds(module: Module) -> None:
    others = (replace(module, tags="one"), replace(module, crds=("one", "two")))
    assert len({module.key, *(other.key for other in others)}) == 3
    assert replace(module, flags=building.RELEASE_FLAGS).key != module.key
    assert replace(module, extra=True).key == module.key  # when it is built, not what


def test_no_two_modules_build_a_program_of_one_name() -> None:
    names = binaries.names()
    assert len(names) == len(set(names))


def test_what_only_some_need_is_built_only_when_asked_for() -> None:
    usual = set(binaries.names(extra=False))
    assert {*binaries.CONTROL_PLANE, *binaries.NODE, "helm", "helm3"} <= usual
    assert set(binaries.names()) - usual == {
        "prometheus", "promtool", "prometheus-operator", "prometheus-config-reloader",
        "keda-operator", "keda-adapter", "keda-webhooks", "jaeger", "kwok", "versitygw", "actionlint",
        "kube-score", "argo-rollouts", "prometheus-adapter",
    }  # fmt: skip


def test_the_versions_that_programs_say_are_those_that_are_pinned() -> None:
    for module, pin in (
        (binaries.PROMETHEUS, "github.com/prometheus/prometheus v0.315.0"),
        (binaries.PROMETHEUS_OPERATOR, "github.com/prometheus-operator/prometheus-operator v0.85.0"),
        (binaries.KEDA, "github.com/kedacore/keda/v2 v2.21.0"),
        (binaries.JAEGER, "github.com/jaegertracing/jaeger v1.76.0"),
        (binaries.ARGO_ROLLOUTS, "github.com/argoproj/argo-rollouts v1.10.1"),
    ):
        assert f"require {pin}\n" in (module.source / "go.mod").read_text()
        number = pin.rpartition("v")[2]
        said = {binaries.PROMETHEUS: "3.15.0", binaries.JAEGER: "2.13.0"}
        assert module.linker_flags.endswith(said.get(module, number))


def test_both_kubernetes_versions_say_their_version() -> None:
    for version in binaries.KUBERNETES_VERSIONS:
        module = next(one for one in binaries.modules(version) if one.name.startswith("kubernetes"))
        assert f"gitVersion=v{version}" in module.linker_flags
        assert (module.source / "go.mod").read_text().count(f"k8s.io/kubernetes v{version}\n") == 1


def test_every_pinned_module_has_sums_and_a_go_version() -> None:
    for version in binaries.KUBERNETES_VERSIONS:
        for module in binaries.modules(version):
            assert building.wanted_go(module) >= (1, 26)
            assert module.name in {"pause", "volumes"} or (module.source / "go.sum").exists()


def test_an_unknown_program_or_version_is_named() -> None:
    with pytest.raises(LocalClusterError, match=r"kubectx.*there are: etcd"):
        binaries.ensure(["kubectx"])
    with pytest.raises(LocalClusterError, match=r"1\.2\.3 is not pinned"):
        binaries.modules("1.2.3")


def test_no_go_says_what_to_install(module: Module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(LocalClusterError, match=r"`go` is not on the PATH. Install Go 1\.26"):
        building.ensure(module, lambda _: None)


def test_an_old_go_is_refused(module: Module, calls: Path) -> None:
    (module.source / "go.mod").write_text("go 2.0\n")
    with pytest.raises(LocalClusterError, match=r"go1\.99 \S*too old|is go1\.99, too old"):
        building.ensure(module, lambda _: None)


def test_two_at_once_build_once_and_the_third_needs_no_go(module: Module, calls: Path) -> None:
    threads = [threading.Thread(target=building.ensure, args=(module, lambda _: None)) for _ in range(2)]
    for thread in threads:
        thread.start()
        time.sleep(0.05)
    for thread in threads:
        thread.join()
    assert (module.directory / "tool").read_text() == "program\n"
    assert calls.read_text().count("called") == 2  # `go env` and `go build`, of one of them
    building.ensure(module, lambda _: None)
    assert calls.read_text().count("called") == 2


def test_a_second_module_waits_and_shows_which_build_is_at_work(
    module: Module, calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "HEARTBEAT_SECONDS", 0.02)
    other = replace(module, name="other", programs=(("other", "."),))
    shutil.copytree(module.source, other.source)
    building_began, printed = threading.Event(), list[str]()

    def say(line: str) -> None:
        if line.startswith("building tool"):
            building_began.set()

    first = threading.Thread(target=building.ensure, args=(module, say))
    first.start()
    assert building_began.wait(10)
    building.ensure(other, printed.append)
    first.join()
    assert printed[0] == "waiting to build other …"
    assert any(line.startswith("waiting to build other: ") and "now building tool" in line for line in printed)
    assert (other.directory / "other").exists()


def test_programs_have_their_own_names_whatever_their_packages_are_called(module: Module, calls: Path) -> None:
    module = replace(module, programs=(("one-operator", "one/cmd/operator"), ("reloader", "one/cmd/reloader")))
    building.ensure(module, lambda _: None)
    programs = {path.name: path.read_text() for path in module.directory.iterdir()}
    assert programs == {"one-operator": "one/cmd/operator\n", "reloader": "one/cmd/reloader\n"}


def test_crds_stay_when_the_download_goes(
    module: Module, calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    downloaded = tmp_path / "downloaded"
    (downloaded / "config").mkdir(parents=True)
    for name in ("widgets.yaml", "kustomization.txt"):
        (downloaded / "config" / name).write_text(name)
    (downloaded / "config" / "widgets.yaml").chmod(0o444)
    monkeypatch.setenv("DOWNLOADED", str(downloaded))
    module = replace(module, crds=("example.dev/widgets", "config"))
    building.ensure(module, lambda _: None)
    shutil.rmtree(downloaded)
    crds = module.directory / building.CRDS
    assert {path.name: path.read_text() for path in crds.iterdir()} == {"widgets.yaml": "widgets.yaml"}


def test_a_killed_build_leaves_nothing_that_counts(module: Module, calls: Path) -> None:
    scrap = module.directory.parent / f".{module.name}-killed"
    scrap.mkdir(parents=True)
    building.ensure(module, lambda _: None)
    assert not scrap.exists()
    assert [path.name for path in module.directory.iterdir()] == ["tool"]


def test_links_replace_older_ones(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for path in (old, new):
        path.write_text(path.name)
    binaries.link({"tool": old}, tmp_path / "bin")
    binaries.link({"tool": new}, tmp_path / "bin")
    assert (tmp_path / "bin" / "tool").read_text() == "new"


def test_the_cache_is_outside_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert paths.CHECKOUT not in paths.cache().parents
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # the specification says to ignore it
    assert paths.cache() == Path.home() / ".cache" / "fairlead"
