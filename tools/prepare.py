"""Everything that a check or `make up` uses and that is made once per machine: Debian packages, programs, images.

    python3 -m tools.prepare setup lint test cluster stack adapter

prepares it in the order in which it is needed, programs beside packages and images: the one computes while the other
waits for the network. `.ci/run` has this at work in the background from its first second; what needs a program or an
image that is not there yet waits for it or builds it. A failure is reported and does not keep the rest from being
prepared: what needs the missing part tries again and fails with the reason.

Standard library only: it runs before there is a virtual environment.
"""

import argparse
import functools
import itertools
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from types import FrameType

from tools import budget, kind
from tools.cluster import CommandError, pinned
from tools.compiler import COMPILER
from tools.images import base, engines
from tools.images.recipes import RECIPES
from tools.localcluster import binaries, building, packages, progress
from tools.localcluster.building import Module
from tools.localcluster.cluster import LocalCluster
from tools.localcluster.packages import Package
from tools.localcluster.paths import LocalClusterError
from tools.localcluster.progress import Say

USES = ("setup", "lint", "test", "cluster", "stack", "adapter")
"""In the order in which a whole check needs them. `adapter` is prometheus-adapter, which tests put onto the stack."""


class Lane(Enum):
    """What is made one after another. The two lanes go on side by side."""

    PROGRAMS = "programs"
    IMAGES = "packages and images"


@dataclass(frozen=True)
class Item:
    """One thing that is made once."""

    name: str
    """Of its estimate in `tools/budget.toml`."""
    lane: Lane
    is_there: Callable[[], bool]
    make: Callable[[Say], object]


@dataclass(frozen=True)
class Machine:
    """What decides which items there are."""

    kubernetes: str = binaries.DEFAULT_KUBERNETES
    docker: bool = False
    """A Docker engine builds the images, so no base image is made."""
    has_kind: bool = False
    """The cluster is kind's, so no Kubernetes is built."""
    own_tools: bool = False
    """kubectl and helm are the machine's own."""


def look(kubernetes: str = "") -> Machine:
    """The machine as it is; raises CommandError for a version of Kubernetes that is not pinned."""
    docker = engines.docker_answers()
    has_kind = docker and kind.answers()
    own = all(shutil.which(name) for name in ("kubectl", "helm")) and (has_kind or not shutil.which("go"))
    pins = kind.NODES if has_kind else binaries.KUBERNETES_VERSIONS
    wanted = kubernetes or ("" if has_kind else LocalCluster().version())
    return Machine(pinned(wanted, pins), docker, has_kind, own)


def items(uses: Collection[str], machine: Machine) -> list[Item]:
    """All that these uses need, in the order in which it is needed, each item once."""
    ordered = [use for use in USES if use in uses]
    modules = dict.fromkeys(module for use in ordered for module in _modules(use, machine))
    found = [_program(module) for module in modules]
    groups = {name: group for use in ordered for name, group in _packages(use, machine).items()}
    found += [_debian(name, group) for name, group in groups.items()]
    if "cluster" in ordered:
        found += [] if machine.docker else [_base()]
        found += [_image(name, machine) for name in RECIPES]
    return found


def _modules(use: str, machine: Machine) -> list[Module]:
    wanted: dict[str, tuple[str, ...]] = {
        "setup": (),
        "lint": ("helm", "actionlint", "kube-score"),
        "test": ("versitygw", "helm3", *binaries.CONTROL_PLANE, "promtool"),
        "cluster": (*binaries.CONTROL_PLANE, *binaries.NODE, "helm"),
        "stack": ("prometheus", "prometheus-operator", "keda-operator", "jaeger"),
        "adapter": ("prometheus-adapter",),
    }
    if machine.has_kind:
        wanted |= {"cluster": () if machine.own_tools else ("kubectl", "helm"), "stack": (), "adapter": ()}
    version = machine.kubernetes if use == "cluster" and not machine.has_kind else binaries.DEFAULT_KUBERNETES
    return binaries.modules_of(wanted[use], kubernetes=version)


def _packages(use: str, machine: Machine) -> dict[str, tuple[Package, ...]]:
    """Name of the estimate → packages that are installed together."""
    if use == "setup":
        return {"packages-setup": COMPILER}
    if use == "test":
        return {"packages-test": (*packages.POSTGRESQL, *packages.REDIS, *packages.CHROMIUM)}
    if use == "cluster" and not machine.docker:
        return {"packages-cluster": (*packages.IMAGES, *packages.CLUSTER)}
    if use == "cluster" and not machine.has_kind:
        return {"packages-cluster": packages.CLUSTER}
    return {}


def _program(module: Module) -> Item:
    return Item(module.name, Lane.PROGRAMS, module.directory.is_dir, lambda say: building.ensure(module, say))


def _debian(name: str, group: Sequence[Package]) -> Item:
    return Item(name, Lane.IMAGES, lambda: not packages.missing(group), lambda say: packages.ensure(group, say))


def _base() -> Item:
    def is_there() -> bool:
        return packages.which("buildah") is not None and base.is_there()

    def make(say: Say) -> None:
        packages.ensure(packages.IMAGES, say)
        base.ensure(say)

    return Item("image-base", Lane.IMAGES, is_there, make)


def _image(name: str, machine: Machine) -> Item:
    recipe = RECIPES[name]

    def is_there() -> bool:
        if not machine.docker and packages.which("buildah") is None:
            return False
        engine: engines.Engine = engines.Docker() if machine.docker else engines.Buildah()
        return engine.has(recipe.reference(engine.base))

    return Item(f"image-{name}", Lane.IMAGES, is_there, lambda say: engines.ensure(recipe, engines.choose(say), say))


def missing(found: Iterable[Item]) -> list[Item]:
    """Those that have to be made."""
    return [item for item in found if not item.is_there()]


def seconds(found: Iterable[Item], table: budget.Budget) -> float:
    """How long they take on the reference machine, if both lanes go on side by side."""
    lanes = dict.fromkeys(Lane, 0.0)
    for item in found:
        lanes[item.lane] += table.estimates[item.name]
    return max(lanes.values())


def share(missing: Sequence[Item], every: Sequence[Item], table: budget.Budget) -> float:
    """How much of the making is still to be done, 0 to 1."""
    whole = seconds(every, table)
    return seconds(missing, table) / whole if whole else 0.0


class Numbering:
    """`stage 3 of 12`, counted as the stages begin, in whatever thread."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._count = itertools.count(1)  # `next` of it is atomic

    def next(self) -> str:
        return f"stage {next(self._count)} of {self._total}"


class Preparation:
    """Makes items, one thread per lane."""

    def __init__(self, found: Sequence[Item], numbering: Numbering, say: Say) -> None:
        self.failures: list[str] = []
        self._numbering, self._say = numbering, say
        self._stopped = threading.Event()
        self._threads = {
            lane: threading.Thread(target=self._work, args=([item for item in found if item.lane is lane],))
            for lane in Lane
        }

    def start(self) -> None:
        for thread in self._threads.values():
            thread.start()

    def wait(self, *lanes: Lane) -> None:
        """Until these lanes are through, or all; raises LocalClusterError with what failed."""
        for lane in lanes or Lane:
            self._threads[lane].join()
        if self.failures:
            raise LocalClusterError("; ".join(self.failures))

    def stop(self) -> None:
        """Begins no further item."""
        self._stopped.set()

    def end(self) -> None:
        """Begins no further item, and waits for those that are being made."""
        self.stop()
        for thread in self._threads.values():
            thread.join()

    def _work(self, found: Sequence[Item]) -> None:
        for item in found:
            if self._stopped.is_set():
                return
            number = self._numbering.next()
            try:
                item.make(functools.partial(self._report, number))
            except (LocalClusterError, OSError) as error:
                self.failures.append(f"{item.name}: {error}")
                self._report(number, f"{item.name} failed: {error}")

    def _report(self, number: str, line: str) -> None:
        self._say(f"{number}: {line}")


def end_process(signum: int, frame: FrameType | None) -> None:
    """A signal handler: ends as the signal would, after what has to be tidied."""
    sys.exit(128 + signum)


def main(words: list[str] | None = None) -> int:
    """0 all is there; 1 something could not be made; 130 or 143 interrupted."""
    parser = argparse.ArgumentParser(
        prog="python3 -m tools.prepare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("use", nargs="+", choices=USES)
    arguments = parser.parse_args(words)
    signal.signal(signal.SIGTERM, end_process)
    try:
        found = missing(items(arguments.use, look(os.environ.get("KUBERNETES_VERSION", ""))))
    except (LocalClusterError, CommandError) as error:
        print(f"prepare: {error}", file=sys.stderr)
        return 1
    if not found:
        progress.say("prepare: everything is there")
        return 0
    progress.say(f"prepare: {', '.join(item.name for item in found)}")
    preparation = Preparation(found, Numbering(len(found)), lambda line: progress.say(f"prepare: {line}"))
    try:
        preparation.start()
        preparation.wait()
    except LocalClusterError as error:
        print(f"prepare: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        preparation.end()
    progress.say("prepare: everything is there")
    return 0


if __name__ == "__main__":
    sys.exit(main())
