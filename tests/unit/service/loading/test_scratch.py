"""A loader that is killed leaves nothing for long."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from fairlead_service.loading import scratch

HOLD = """
import sys
from pathlib import Path
from fairlead_service.loading import scratch
with scratch.directory(None, Path(sys.argv[1])) as made:
    (made / "model.skops").write_bytes(b"half")
    print(made, flush=True)
    sys.stdin.read()
"""


def names(parent: Path) -> list[str]:
    return sorted(path.name for path in parent.iterdir())


def test_what_a_killed_loader_has_left_is_removed_by_the_next(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as loader:
        assert loader.stdout is not None
        left = Path(loader.stdout.readline().strip())
        scratch.remove_abandoned(tmp_path)
        assert (left / "model.skops").exists()  # its loader still runs
        os.kill(loader.pid, signal.SIGKILL)
    assert left.exists()
    with scratch.directory(None, tmp_path) as made:
        assert names(tmp_path) == [made.name]
    assert names(tmp_path) == []


def test_a_directory_that_the_parent_gives(tmp_path: Path) -> None:
    (tmp_path / "given").mkdir()
    with scratch.directory(tmp_path / "given", tmp_path) as made:
        assert made.parent == tmp_path / "given"
    assert names(tmp_path / "given") == []


def test_only_scratch_directories_are_removed(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / ".fairlead-load-file").write_text("x")
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "kept").write_text("x")
    (tmp_path / ".fairlead-load-link").symlink_to(tmp_path / "target")
    scratch.remove_abandoned(tmp_path)
    assert (tmp_path / "bundle").exists()
    assert (tmp_path / "target" / "kept").exists()
