"""Pinned Go modules → programs, built once and cached outside the checkout.

A directory below `modules/` pins one module with everything it needs (`go.mod`, `go.sum`); `go install path@version`
would refuse modules with `replace` lines and pin nothing. The cache key is a digest of all that decides the result,
so a program in the cache never needs building, nor Go.
"""

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tools.localcluster import paths, progress
from tools.localcluster.paths import LocalClusterError
from tools.localcluster.progress import Say

KUBERNETES_VERSIONS = ("1.37.2", "1.34.4")
DEFAULT_KUBERNETES = KUBERNETES_VERSIONS[0]
HELM = (
    "helm.sh/helm/v4/internal/version.version=v4.2.4",
    "helm.sh/helm/v3/internal/version.version=v3.21.4",
)
CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
CRDS = "crds"
"""Directory beside a module's programs."""
NODE = ("kubelet", "kube-proxy", "kubectl", "coredns", "pause", "open-volumes")


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
    def source(self) -> Path:
        return paths.MODULES / self.name

    @property
    def key(self) -> str:
        """Digest of the pins, our own sources, the flags and the platform."""
        settings = (self.programs, self.linker_flags, self.flags or BUILD_FLAGS, platform.machine())
        rarer = tuple(filter(None, (self.tags, self.crds)))
        digest = hashlib.sha256(repr(settings + rarer).encode())
        for file in sorted(self.source.iterdir()):
            if file.suffix in {".mod", ".sum", ".go"}:
                digest.update(f"\0{file.name}\0".encode() + file.read_bytes())
        return digest.hexdigest()[:16]

    @property
    def directory(self) -> Path:
        return paths.cache() / "binaries" / f"{self.name}-{self.key}"


RELEASE_FLAGS = ("-trimpath", "-buildvcs=false", "-mod=readonly")
BUILD_FLAGS = (
    *RELEASE_FLAGS,
    # A cold build takes a quarter less processor time without debugger's data, which the linker drops anyway, and
    # without inlining but in the standard library, where it matters. Stack traces keep their lines.
    "-gcflags=all=-dwarf=false -l",
    "-gcflags=std=-dwarf=false",
)


def _kubernetes(version: str) -> Module:
    """Without these linker flags the programs report version 0.0.0 and clients misbehave."""
    major, minor, _ = version.split(".")
    package = "k8s.io/component-base/version"
    return Module(
        name=f"kubernetes-{major}.{minor}",
        programs=tuple(
            (program, f"k8s.io/kubernetes/cmd/{program}")
            for program in (*CONTROL_PLANE[1:], "kubelet", "kube-proxy", "kubectl")
        ),
        linker_flags=(
            f"-s -w -X {package}.gitVersion=v{version} -X {package}.gitMajor={major} -X {package}.gitMinor={minor}"
        ),
    )


PROMETHEUS = Module(
    "prometheus",
    tuple((program, f"github.com/prometheus/prometheus/cmd/{program}") for program in ("prometheus", "promtool")),
    "-s -w -X github.com/prometheus/common/version.Version=3.15.0",
    # Service discovery by Kubernetes alone: the clients of twenty clouds would be built and linked, too.
    tags="remove_all_sd,enable_kubernetes_sd",
    extra=True,
)
PROMETHEUS_OPERATOR = Module(
    "prometheus-operator",
    (
        ("prometheus-operator", "github.com/prometheus-operator/prometheus-operator/cmd/operator"),
        (
            "prometheus-config-reloader",
            "github.com/prometheus-operator/prometheus-operator/cmd/prometheus-config-reloader",
        ),
    ),
    "-s -w -X github.com/prometheus/common/version.Version=0.85.0",
    crds=("github.com/prometheus-operator/prometheus-operator", "example/prometheus-operator-crd"),
    extra=True,
)
KEDA = Module(
    "keda",
    tuple((f"keda-{one}", f"github.com/kedacore/keda/v2/cmd/{one}") for one in ("operator", "adapter", "webhooks")),
    "-s -w -X github.com/kedacore/keda/v2/version.Version=v2.21.0",
    crds=("github.com/kedacore/keda/v2", "config/crd/bases"),
    extra=True,
)
PROMETHEUS_ADAPTER = Module(
    "prometheus-adapter",
    (("prometheus-adapter", "sigs.k8s.io/prometheus-adapter/cmd/adapter"),),
    extra=True,
)
JAEGER = Module(
    "jaeger",
    (("jaeger", "github.com/jaegertracing/jaeger/cmd/all-in-one"),),
    "-s -w -X github.com/jaegertracing/jaeger/pkg/version.latestVersion=v1.62.0",
    extra=True,
)
KWOK = Module("kwok", (("kwok", "sigs.k8s.io/kwok/cmd/kwok"),), extra=True)
KUBE_SCORE = Module(
    "kube-score",
    (("kube-score", "github.com/zegl/kube-score/cmd/kube-score"),),
    "-s -w -X main.version=1.20.0",
    extra=True,
)
ACTIONLINT = Module("actionlint", (("actionlint", "github.com/rhysd/actionlint/cmd/actionlint"),), extra=True)
ARGO_ROLLOUTS = Module(
    "argo-rollouts",
    (("argo-rollouts", "github.com/argoproj/argo-rollouts/cmd/rollouts-controller"),),
    "-s -w -X github.com/argoproj/argo-rollouts/utils/version.version=1.10.1",
    crds=("github.com/argoproj/argo-rollouts", "manifests/crds"),
    extra=True,
    flags=RELEASE_FLAGS,  # what it costs is compared
)
VERSITYGW = Module("versitygw", (("versitygw", "github.com/versity/versitygw/cmd/versitygw"),), extra=True)


def modules(kubernetes: str = DEFAULT_KUBERNETES) -> tuple[Module, ...]:
    """Every module, with the wanted version of Kubernetes."""
    if kubernetes not in KUBERNETES_VERSIONS:
        raise LocalClusterError(f"Kubernetes {kubernetes} is not pinned here; pinned: {', '.join(KUBERNETES_VERSIONS)}")
    return (
        Module("etcd", (("etcd", "go.etcd.io/etcd/server/v3"),)),
        _kubernetes(kubernetes),
        Module("coredns", (("coredns", "."),)),
        Module("pause", (("pause", "."),)),
        Module("volumes", (("open-volumes", "."),)),
        # Their Kubernetes libraries are those of kubernetes-1.37, so that the build cache has most of them already.
        Module("helm", (("helm", "helm.sh/helm/v4/cmd/helm"),), f"-s -w -X {HELM[0]}"),
        Module("helm3", (("helm3", "helm.sh/helm/v3/cmd/helm"),), f"-s -w -X {HELM[1]}"),
        PROMETHEUS,
        PROMETHEUS_OPERATOR,
        KEDA,
        PROMETHEUS_ADAPTER,
        JAEGER,
        KWOK,
        VERSITYGW,
        ARGO_ROLLOUTS,
        ACTIONLINT,
        KUBE_SCORE,
    )


def names(kubernetes: str = DEFAULT_KUBERNETES, *, extra: bool = True) -> tuple[str, ...]:
    """Every program that can be built, with or without those of extra modules."""
    wanted = [module for module in modules(kubernetes) if extra or not module.extra]
    return tuple(program for module in wanted for program, _ in module.programs)


def ensure(wanted: Iterable[str], *, kubernetes: str = DEFAULT_KUBERNETES, say: Say = progress.say) -> dict[str, Path]:
    """Build what is not in the cache; give each wanted program's path."""
    wanted = tuple(wanted)
    found = locate(wanted, kubernetes=kubernetes)
    for module in modules(kubernetes):
        if any(program in wanted for program, _ in module.programs):
            _ensure_module(module, say)
    return found


def locate(wanted: Iterable[str], *, kubernetes: str = DEFAULT_KUBERNETES) -> dict[str, Path]:
    """Where the programs are, or will be once they are built."""
    known = {program: one.directory / program for one in modules(kubernetes) for program, _ in one.programs}
    wanted = tuple(wanted)
    if unknown := set(wanted) - set(known):
        raise LocalClusterError(f"unknown: {', '.join(sorted(unknown))}; there are: {', '.join(known)}")
    return {program: known[program] for program in wanted}


def link(programs: dict[str, Path], directory: Path) -> None:
    """Links with the programs' names in one directory, for people's PATH."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, path in programs.items():
        fresh = directory / f".{name}.{os.getpid()}"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(path)
        fresh.replace(directory / name)


def _ensure_module(module: Module, say: Say) -> None:
    if module.directory.is_dir():
        return
    with _lock(module, say):
        if not module.directory.is_dir():  # another run may just have made it
            _check_go(module)
            _build(module, say)


@contextmanager
def _lock(module: Module, say: Say) -> Iterator[None]:
    """One build of a module at a time: two would share nothing and slow each other down."""
    root = module.directory.parent
    root.mkdir(parents=True, exist_ok=True)
    with (root / f"{module.name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with progress.stage(f"waiting for another build of {module.name}", say):
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


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
    """Build beside the final directory and rename: it exists whole or not at all."""
    root = module.directory.parent
    for leftover in root.glob(f".{module.name}-*"):  # of a build that was killed; we hold the lock
        shutil.rmtree(leftover, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{module.name}-", dir=root))
    title = f"building {', '.join(program for program, _ in module.programs)}"
    try:
        with progress.stage(title, say) as update:
            # One package: `-o file` names the program. Several: `-o directory/` names them after their packages' ends.
            single = len(module.programs) == 1
            out = f"{scratch}/{module.programs[0][0]}" if single else f"{scratch}/"
            packages = [package for _, package in module.programs]
            flags = [*(module.flags or BUILD_FLAGS), "-tags", module.tags, "-ldflags", module.linker_flags]
            _follow(["go", "build", "-v", *flags, "-o", out, *packages], module, update)
            if not single:
                for program, package in module.programs:
                    (scratch / package.rpartition("/")[2]).rename(scratch / program)
            if module.crds:
                _copy_crds(module, *module.crds, scratch / CRDS)
            scratch.chmod(0o755)
            scratch.rename(module.directory)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _copy_crds(module: Module, path: str, directory: str, target: Path) -> None:
    """Out of the downloaded module, whose files and directories are read-only, as plain files."""
    command = ["go", "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", path]
    root = Path(progress.run(command, cwd=module.source, env=_go_environment()).stdout.strip())
    target.mkdir()
    for file in sorted((root / directory).glob("*.yaml")):
        (target / file.name).write_bytes(file.read_bytes())


def _follow(command: list[str], module: Module, update: Say) -> None:
    """Run go build; count the packages it names (`-v`), keep the end of what it says for an error."""
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
