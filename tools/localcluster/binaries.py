"""The programs that are built from pinned Go modules: which there are, and where they are cached."""

import os
from collections.abc import Iterable
from pathlib import Path

from tools.localcluster import building, progress
from tools.localcluster.building import RELEASE_FLAGS, Module
from tools.localcluster.paths import LocalClusterError
from tools.localcluster.progress import Say

KUBERNETES_VERSIONS = ("1.37.2", "1.34.4")
DEFAULT_KUBERNETES = KUBERNETES_VERSIONS[0]
HELM = (
    "helm.sh/helm/v4/internal/version.version=v4.2.4",
    "helm.sh/helm/v3/internal/version.version=v3.21.4",
)
CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
NODE = ("kubelet", "kube-proxy", "kubectl", "coredns", "pause", "open-volumes")


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
    (("jaeger", "github.com/jaegertracing/jaeger/cmd/jaeger"),),  # its version 1.76.0 is Jaeger 2.13.0
    "-s -w -X github.com/jaegertracing/jaeger/internal/version.latestVersion=v2.13.0",
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
    for module in modules_of(wanted, kubernetes=kubernetes):
        building.ensure(module, say)
    return found


def modules_of(wanted: Iterable[str], *, kubernetes: str = DEFAULT_KUBERNETES) -> list[Module]:
    """The modules that the programs come from, each once, in the order in which the programs are named."""
    owners = {program: module for module in modules(kubernetes) for program, _ in module.programs}
    return list(dict.fromkeys(owners[program] for program in wanted))


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
