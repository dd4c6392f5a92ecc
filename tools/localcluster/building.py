"""Pinned Go modules → programs, built once and cached outside the checkout, one module at a time on this machine.

A directory below `modules/` pins one module with everything it needs (`go.mod`, `go.sum`); `go install path@version`
would refuse modules with `replace` lines and pin nothing. The cache key is a digest of all that decides the result,
so a program in the cache never needs building, nor Go.

Modules share packages in Go's build cache, thousands of them those that use Kubernetes' libraries. Two builds at once
would compile the same package twice and need twice the memory, so a build waits for the one that is at work. It then
starts before what `tools.prepare` would build next in the background: what is waited for comes first.
"""

import hashlib
import os
import platform
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tools.localcluster import locks, paths, progress
from tools.localcluster.paths import LocalClusterError
from tools.localcluster.progress import Say

CRDS: Final = "crds"
"""Directory beside a module's programs."""
TURN: Final = "building.lock"
"""Held by the one build that is at work; its content says what that is and how far."""
RELEASE_FLAGS = ("-trimpath", "-buildvcs=false", "-mod=readonly")
BUILD_FLAGS = (
    *RELEASE_FLAGS,
    # A cold build takes a quarter less processor time without debugger's data, which the linker drops anyway, and
    # without inlining but in the standard library, where it matters. Stack traces keep their lines.
    "-gcflags=all=-dwarf=false -l",
    "-gcflags=std=-dwarf=false",
)


@dataclass(frozen=True)
class Module:
    """One directory of `modules/`, built with one `go build`, so that the linker steps of its programs overlap."""

    name: str
    programs: tuple[tuple[str, str], ...]
    """(program, package) pairs."""
    linker_flags: str = "-s -w"
    tags: str = ""
    """Build tags, separated by commas."""
    crds: tuple[str, str] | None = None
    """A (module, directory in it) of CustomResourceDefinitions, copied beside the programs: the download that they came
    with may be gone when the programs are still in the cache."""
    extra: bool = False
    """Not for `make up` or `make test` as a whole: built when one of its programs is asked for."""
    flags: tuple[str, ...] = ()
    """Instead of `BUILD_FLAGS`."""

    @property
    def build_flags(self) -> tuple[str, ...]:
        return self.flags or BUILD_FLAGS

    @property
    def source(self) -> Path:
        return paths.MODULES / self.name

    @property
    def key(self) -> str:
        """Digest of the pins, our own sources, the flags and the platform."""
        settings = (self.programs, self.linker_flags, self.build_flags, platform.machine())
        rarer = tuple(filter(None, (self.tags, self.crds)))
        digest = hashlib.sha256(repr(settings + rarer).encode())
        for file in sorted(self.source.iterdir()):
            if file.suffix in {".mod", ".sum", ".go"}:
                digest.update(f"\0{file.name}\0".encode() + file.read_bytes())
        return digest.hexdigest()[:16]

    @property
    def directory(self) -> Path:
        return paths.cache() / "binaries" / f"{self.name}-{self.key}"


def ensure(module: Module, say: Say) -> None:
    """Builds the module's programs unless they are in the cache."""
    if module.directory.is_dir():
        return
    root = module.directory.parent
    root.mkdir(parents=True, exist_ok=True)

    def state() -> str:
        return _at_work(root)

    with locks.held(root / f"{module.name}.lock", f"waiting for another build of {module.name}", say, state):
        if module.directory.is_dir():  # the other build has just made it
            return
        _check_go(module)
        with locks.held(root / TURN, f"waiting to build {module.name}", say, state):
            _build(module, say)


def _at_work(root: Path) -> str:
    """What the build that is at work has written about itself."""
    try:
        return f"now {(root / TURN).read_text()}"
    except FileNotFoundError:
        return ""


def _go_environment() -> dict[str, str]:
    """The user's own, less what would change the result."""
    return os.environ | {"CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off"}


def wanted_go(module: Module) -> tuple[int, int]:
    """The Go version that go.mod asks for."""
    match = re.search(r"^go (\d+)\.(\d+)", (module.source / "go.mod").read_text(), re.MULTILINE)
    if match is None:
        raise LocalClusterError(f"{module.source}/go.mod has no `go` line")
    return int(match[1]), int(match[2])


def _check_go(module: Module) -> None:
    major, minor = wanted_go(module)
    mend = (
        f"Install Go {major}.{minor} or newer as https://go.dev/doc/install says (a distribution's is often older) "
        "and put it on the PATH; then run the same command again."
    )
    if shutil.which("go") is None:
        raise LocalClusterError(f"{module.name} must be built from source once, and `go` is not on the PATH. {mend}")
    # In the module's directory a Go with GOTOOLCHAIN=auto answers with the toolchain that it would fetch.
    done = progress.run(["go", "env", "GOVERSION"], cwd=module.source, env=_go_environment(), check=False)
    match = re.search(r"go(\d+)\.(\d+)", done.stdout)
    if done.returncode or match is None:
        raise LocalClusterError(f"{shutil.which('go')} can't build {module.name}: {done.stderr.strip()}. {mend}")
    if (int(match[1]), int(match[2])) < (major, minor):
        raise LocalClusterError(f"{shutil.which('go')} is {match[0]}, too old to build {module.name}. {mend}")


def _build(module: Module, say: Say) -> None:
    """Builds beside the final directory and renames: it exists whole or not at all."""
    root = module.directory.parent
    for leftover in root.glob(f".{module.name}-*"):  # of a build that was killed; we hold the lock
        shutil.rmtree(leftover, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{module.name}-", dir=root))
    title = f"building {', '.join(program for program, _ in module.programs)}"
    try:
        with progress.stage(title, say) as update:

            def show(detail: str) -> None:
                update(detail)
                (root / TURN).write_text(f"{title}: {detail}")

            show("starting")
            _compile(module, scratch, show)
            if module.crds:
                _copy_crds(module, *module.crds, scratch / CRDS)
            scratch.chmod(0o755)
            scratch.rename(module.directory)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _compile(module: Module, target: Path, update: Say) -> None:
    """One package: `-o file` names the program. Several: `-o directory/` names them after their packages' ends."""
    single = len(module.programs) == 1
    out = f"{target}/{module.programs[0][0]}" if single else f"{target}/"
    packages = [package for _, package in module.programs]
    flags = [*module.build_flags, "-tags", module.tags, "-ldflags", module.linker_flags]
    _follow(["go", "build", "-v", *flags, "-o", out, *packages], module, update)
    if not single:
        for program, package in module.programs:
            (target / package.rpartition("/")[2]).rename(target / program)


def _copy_crds(module: Module, path: str, directory: str, target: Path) -> None:
    """Out of the downloaded module, whose files and directories are read-only, as plain files."""
    command = ["go", "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", path]
    root = Path(progress.run(command, cwd=module.source, env=_go_environment()).stdout.strip())
    target.mkdir()
    for file in sorted((root / directory).glob("*.yaml")):
        (target / file.name).write_bytes(file.read_bytes())


def _follow(command: list[str], module: Module, update: Say) -> None:
    """Runs go build; counts the packages it names (`-v`), keeps the end of what it prints for an error."""
    tail: list[str] = []
    count = 0
    with subprocess.Popen(
        command,
        cwd=module.source,
        env=_go_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                tail = [*tail[-30:], line.rstrip()]
                if line.startswith("go: downloading"):
                    update(line.removeprefix("go: ").strip())
                else:
                    count += 1
                    update(f"{count} packages compiled")
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        raise LocalClusterError(f"`{' '.join(command)}` in {module.source} failed:\n" + "\n".join(tail))
