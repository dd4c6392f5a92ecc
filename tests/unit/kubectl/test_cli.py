"""The command line itself: what is refused before any cluster is asked, and what is said when kubectl cannot help."""

import json
from pathlib import Path

import pytest

from fairlead_kubectl.api import read_rows
from fairlead_kubectl.cli import main
from fairlead_kubectl.decide import RefusedError


def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Another program in kubectl's place."""
    program = tmp_path / "kubectl"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("KUBECTL", str(program))


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["status"],
        ["status", "a", "--interval", "0"],
        ["status", "a", "--interval", "soon"],
        ["rollback", "a", "--pin", "--move-alias"],
        ["predict", "a"],
        ["logs", "a", "--track", "none"],
    ],
)
def test_what_is_no_command_is_a_usage_error(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: kubectl fairlead" in capsys.readouterr().err


def test_without_kubectl(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("KUBECTL", "/none/kubectl")
    assert main(["status", "fraud"]) == 2
    assert "/none/kubectl is not installed" in capsys.readouterr().err


def test_flags_reach_kubectl_and_its_error_the_person(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    noise = 'E1126 16:37:06.857784 1 memcache.go:381] "noise"'
    kubectl(tmp_path, monkeypatch, f"echo '{noise}' >&2; echo \"error: asked: $*\" >&2; exit 1")
    assert main(["why", "fraud", "-n", "ml", "--context", "prod", "--kubeconfig", "/k"]) == 2
    said = capsys.readouterr().err
    assert "noise" not in said
    asked = "--context prod --kubeconfig /k --namespace ml get modeldeployments.fairlead.dev fraud"
    assert said.startswith(f"kubectl fairlead: asked: {asked} ")


def test_flags_may_stand_before_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kubectl(tmp_path, monkeypatch, 'echo "$*" > "$0.asked"; exit 1')
    assert main(["--namespace", "ml", "history", "fraud"]) == 2
    assert "--namespace ml get" in (tmp_path / "kubectl.asked").read_text()


def test_a_cluster_without_fairlead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = 'error: the server doesn\\047t have a resource type "modeldeployments" in group "fairlead.dev"'
    kubectl(tmp_path, monkeypatch, f"printf '{said}' >&2; exit 1")
    assert main(["status", "fraud"]) == 2
    assert "kubectl fairlead doctor" in capsys.readouterr().err


def test_rows_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text("[[1, 2]]")
    assert read_rows(str(path)) == ([[1, 2]], {})
    path.write_text(json.dumps({"features": [[1]], "probabilities": True}))
    assert read_rows(str(path)) == ([[1]], {"probabilities": True})
    path.write_text(json.dumps([{"a": 1}]))
    assert read_rows(str(path)) == ([{"a": 1}], {})


@pytest.mark.parametrize(("text", "said"), [("[", "no JSON"), ('{"features": [], "rows": 1}', "unknown field 'rows'")])
def test_a_file_that_is_no_rows(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "rows.json"
    path.write_text(text)
    with pytest.raises(RefusedError, match=said):
        read_rows(str(path))
    with pytest.raises(RefusedError, match="cannot be read"):
        read_rows(str(tmp_path / "none.json"))
