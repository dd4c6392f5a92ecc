"""What is missing is installed, or named with the command that installs it."""

import os
from pathlib import Path

import pytest

from tools.localcluster import packages
from tools.localcluster.packages import Package
from tools.localcluster.paths import LocalClusterError

MISSING = (Package("some-tool", "no-such-program"), Package("shell", "sh"))


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An apt-get that fails until `update` was called, then makes the program; its calls are in the file given."""
    fake = tmp_path / "apt-get"
    fake.write_text(
        f"""#!/bin/sh
echo "$*" >> {tmp_path}/calls
case "$*" in
*update*) touch {tmp_path}/updated;;
*) [ -e {tmp_path}/updated ] || exit 100; ln -s /bin/true {tmp_path}/no-such-program;;
esac
"""
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(packages, "LOCK", tmp_path / "lock")
    return tmp_path / "calls"


def test_nothing_is_done_when_all_is_there(apt: Path) -> None:
    packages.ensure([Package("shell", "sh")], lambda _: None)
    assert not apt.exists()


def test_root_on_debian_gets_it_installed_after_one_update(apt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    said: list[str] = []
    packages.ensure(MISSING, said.append)
    calls = apt.read_text().splitlines()
    assert [("update" in call, "some-tool" in call) for call in calls] == [(False, True), (True, False), (False, True)]
    assert all("shell" not in call for call in calls)
    assert "installing Debian packages some-tool" in said[0]


def test_others_are_told_the_command(apt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(LocalClusterError, match="sudo apt-get install --no-install-recommends some-tool"):
        packages.ensure(MISSING, lambda _: None)


def test_other_distributions_are_told_the_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(LocalClusterError, match=r"missing: some-tool.*Install them and try again"):
        packages.ensure(MISSING, lambda _: None)
