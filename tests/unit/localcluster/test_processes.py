"""A process is ours by pid and start time: found again, never mistaken for another one."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tools.localcluster import processes
from tools.localcluster.paths import LocalClusterError
from tools.localcluster.processes import Daemon, Identity

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, which only Linux has")


def daemon(directory: Path, *command: str) -> Daemon:
    return Daemon("sleeper", command or ("sleep", "60"), directory / "run", directory / "logs")


def test_started_once_found_by_another_object_and_stopped(tmp_path: Path) -> None:
    first = daemon(tmp_path)
    assert first.start()
    identity = first.identity
    assert identity is not None
    second = daemon(tmp_path)
    assert second.identity == identity
    assert not second.start()
    second.stop()
    assert not identity.alive
    assert not first.pid_file.exists()


def test_a_recycled_pid_is_neither_adopted_nor_killed(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as stranger:
        now = Identity.of(stranger.pid)
        assert now is not None
        one = daemon(tmp_path)
        one.run_directory.mkdir()
        one.pid_file.write_text(json.dumps(vars(replace(now, started=now.started - 1))))
        assert one.identity is None
        one.stop()
        assert stranger.poll() is None
        assert not replace(now, boot="another").signal(signal.SIGKILL)
        assert stranger.poll() is None
        stranger.kill()


def test_a_cut_short_process_file_is_no_process(tmp_path: Path) -> None:
    one = daemon(tmp_path)
    one.run_directory.mkdir()
    for text in ("", '{"pid": 1', "[]", '{"pid": 1}', "null"):
        one.pid_file.write_text(text)
        assert one.identity is None


def test_a_zombie_is_not_alive() -> None:
    with subprocess.Popen(["true"]) as child:
        deadline = time.monotonic() + 5
        while Identity.of(child.pid) is not None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert Identity.of(child.pid) is None


def test_names_with_brackets_and_spaces_are_read(tmp_path: Path) -> None:
    program = tmp_path / "a) S (b"
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([program, "60"]) as child:
        identity = Identity.of(child.pid)
        assert identity is not None
        assert identity.started > 0
        child.kill()


def test_what_ignores_the_request_to_end_is_killed(tmp_path: Path) -> None:
    stubborn = daemon(tmp_path, "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done")
    stubborn.start()
    identity = stubborn.identity
    deadline = time.monotonic() + 5
    while "ready" not in stubborn.tail() and time.monotonic() < deadline:
        time.sleep(0.01)
    stubborn.stop(seconds=0.2)
    assert identity is not None
    assert not identity.alive


def test_an_ended_program_is_reported_with_its_last_words(tmp_path: Path) -> None:
    one = daemon(tmp_path, "sh", "-c", "echo no such flag; sleep 0.2; exit 1")
    one.start()
    deadline = time.monotonic() + 5
    while one.identity is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    with pytest.raises(LocalClusterError, match="no such flag"):
        one.check()


def test_found_by_its_program_and_a_path_on_its_command_line(tmp_path: Path) -> None:
    word = str(tmp_path / "state")
    with subprocess.Popen(["tail", "-f", "/dev/null", word]) as child:
        assert child.pid in [one.pid for one in processes.find(word, ["tail"])]
        assert processes.find(word, ["kubelet"]) == []
        assert os.getpid() not in [one.pid for one in processes.find(word, ["python", "python3", "pytest"])]
        child.kill()
