"""Puts the stack onto the local cluster: programs → images → CRDs → objects, and waits until each part works."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tools.localcluster import binaries, building, node, progress, scratch
from tools.localcluster.building import Module
from tools.localcluster.controlplane import ControlPlane
from tools.localcluster.manifests import as_list
from tools.localcluster.progress import Say
from tools.localcluster.stack import NAMESPACE, adapter, jaeger, keda, prometheus
from tools.localcluster.stack.objects import Object, namespace

APPLY = ("apply", "--server-side", "--force-conflicts", "-f")
WAIT = "--timeout=180s"


@dataclass(frozen=True)
class Part:
    """What one line of progress is about."""

    title: str
    modules: tuple[Module, ...]
    programs: tuple[str, ...]
    """Each in an image of its own; `manifests` takes the images in this order."""
    manifests: Callable[..., list[Object]]
    conditions: tuple[str, ...] = ()
    """Objects whose condition Available is awaited."""
    roll_outs: tuple[str, ...] = ()


PARTS = (
    Part("Jaeger", (binaries.JAEGER,), ("jaeger",), jaeger.manifests, roll_outs=(f"deployment/{jaeger.NAME}",)),
    Part(
        "Prometheus",
        (binaries.PROMETHEUS_OPERATOR, binaries.PROMETHEUS),
        ("prometheus-operator", "prometheus-config-reloader", "prometheus"),
        prometheus.manifests,
        conditions=(f"prometheus/{prometheus.NAME}",),
        roll_outs=(f"deployment/{prometheus.OPERATOR}", f"statefulset/{prometheus.STATEFUL_SET}"),
    ),
    Part(
        "KEDA",
        (binaries.KEDA,),
        ("keda-operator", "keda-adapter", "keda-webhooks"),
        keda.manifests,
        # Its operator starts anew when it has made the certificates; the APIService is available only after that.
        conditions=(f"apiservice/{keda.API_SERVICE}",),
        roll_outs=tuple(f"deployment/{name}" for name in (keda.OPERATOR, keda.ADAPTER, keda.WEBHOOKS)),
    ),
)

ADAPTER = Part(
    "prometheus-adapter",
    (binaries.PROMETHEUS_ADAPTER,),
    ("prometheus-adapter",),
    adapter.manifests,
    conditions=(f"apiservice/{adapter.API_SERVICE}",),
    roll_outs=(f"deployment/{adapter.NAME}",),
)
"""Only where it is asked for."""


def install(plane: ControlPlane, archives: Path, say: Say, parts: Sequence[Part] = PARTS) -> None:
    """Install or upgrade parts; a second call finds it done. `archives` is a directory for images on their way."""
    programs = binaries.ensure([program for part in parts for program in part.programs], say=say)
    plane.kubectl(*APPLY, "-", stdin=as_list([namespace()]))
    with ThreadPoolExecutor() as pool:  # most of the time is waiting, and no part needs another
        list(pool.map(lambda part: _install(part, programs, plane, archives, say), parts))


def _install(part: Part, programs: Mapping[str, Path], plane: ControlPlane, archives: Path, say: Say) -> None:
    own = [programs[name] for name in part.programs]
    with progress.stage(f"stack: {part.title}", say) as update:
        update("images")
        node.import_programs(own, archives)
        update("objects")
        for module in part.modules:
            if module.crds:
                plane.kubectl(*APPLY, str(module.directory / building.CRDS))
        plane.kubectl(*APPLY, "-", stdin=as_list(part.manifests(*map(scratch.reference, own))))
        for what in part.conditions:
            update(f"waiting for {what}")
            plane.kubectl("wait", "-n", NAMESPACE, "--for=condition=Available", what, WAIT)
        for what in part.roll_outs:
            update(f"waiting for {what}")
            plane.kubectl("rollout", "status", "-n", NAMESPACE, what, WAIT)
