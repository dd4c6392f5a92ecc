"""docs/tutorial.md, run as its reader would: every command, in order, in one shell.

`sh` blocks are commands. In `console` blocks a command begins with `$ `, and the lines below it are what it prints, `…`
standing for anything.
"""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tools import ports
from tools.cluster import ROOT, Cluster

DOCUMENT = ROOT / "docs/tutorial.md"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LAST = "## 5. Clean up"
PORTS = (8000, 5000)
LIMIT_SECONDS = 900


@dataclass(frozen=True)
class Step:
    """Commands, and what they print; None where the document does not say."""

    commands: str
    prints: str | None


def steps(document: str) -> Iterator[Step]:
    for kind, body in FENCE.findall(document):
        if kind == "sh":
            yield Step(body, None)
        elif kind == "console":
            for entry in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
                command, _, printed = entry.partition("\n")
                yield Step(command, printed)


def pattern(printed: str) -> re.Pattern[str]:
    """Matches the output whatever the widths of its columns; `…` is anything."""
    words = [".*?".join(map(re.escape, word.split("…"))) for word in printed.split()]
    return re.compile(r"\s+".join(words), re.DOTALL)


class Shell:
    """One bash, in which a variable or a background process of one step is there in the next."""

    END = "--end-of-step--"

    def __init__(self, directory: Path) -> None:
        self.process = subprocess.Popen(
            ["bash", "-u", "-o", "pipefail"], cwd=directory, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def run(self, commands: str) -> tuple[int, str]:
        """The exit code of the first command that fails, or 0, and what was printed."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        script = (
            f"trap 'failed=${{failed:-$?}}' ERR; failed=; {commands.rstrip()}\necho; echo {self.END} ${{failed:-0}}\n"
        )
        self.process.stdin.write(script)
        self.process.stdin.flush()
        printed = ""
        for line in self.process.stdout:
            if line.startswith(self.END):
                return int(line.split()[1]), printed
            printed += line
        pytest.fail(f"the shell ended in {commands!r}, which printed {printed!r}")

    def follow(self, step: Step) -> None:
        code, printed = self.run(step.commands)
        assert code == 0, f"{step.commands}\nended with {code}:\n{printed}"
        if step.prints is not None:
            expected = pattern(step.prints)
            assert expected.fullmatch(printed.strip()), f"{step.commands}\nprinted\n{printed}\nnot\n{step.prints}"

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(30)


@pytest.fixture
def document() -> Iterator[tuple[str, Shell]]:
    """The document up to its last section, and a shell; the last section is run whatever becomes of the others."""
    for port in PORTS:
        if reason := ports.taken(port):
            pytest.fail(f"the tutorial needs port {port}, which is taken ({reason})")
    body, heading, clean_up = DOCUMENT.read_text().partition(LAST)
    assert heading, f"{DOCUMENT} has no section {LAST!r}"
    shell = Shell(ROOT)
    try:
        yield body, shell
    finally:
        ended = [shell.run(step.commands) for step in steps(clean_up)]
        shell.close()
    assert [code for code, _ in ended] == [0] * len(ended), ended


@pytest.mark.xdist_group("ports-and-jaeger")
@pytest.mark.timeout(LIMIT_SECONDS)
def test_every_command_does_what_the_tutorial_says(cluster: Cluster, document: tuple[str, Shell]) -> None:
    body, shell = document
    for step in steps(body):
        shell.follow(step)
    status = cluster.get("modeldeployment", "tumour", "clinic")["status"]
    verdicts = {entry.get("modelVersion"): entry["verdict"] for entry in status["history"]}
    assert "AnalysisFailed" in verdicts["3"], verdicts
    assert status["serving"]["modelVersion"] == "2"


def test_what_is_not_printed_is_a_failure() -> None:
    """The reader of the document's output is not one that takes anything."""
    found = [Step("echo one", "one two\n"), Step("true\n", None)]
    assert list(steps("```console\n$ echo one\none two\n```\ntext\n```sh\ntrue\n```\n```yaml\na: b\n```\n")) == found
    assert pattern("a  … c\n").fullmatch("a   b b   c")
    assert not pattern("a … c").fullmatch("a b d")
