"""The order of the phases, and the report."""

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.controlplane import peer, phases
from benchmarks.controlplane.phases import Outcome
from benchmarks.controlplane.report import Results, brief, render
from benchmarks.controlplane.scene import ROOT, Scene, scene

NAMESPACE = "models"


def measure(scene: Scene, number: int, rest_seconds: float) -> Results:
    names = [f"model-{index}" for index in range(number)]
    first, second, third = (scene.registry.run() for _ in range(3))
    say("floor: plain Deployments, created and changed")
    floor = phases.floor(scene, names, (first, second))
    say(f"floor: {floor[0]:.0f} s, {floor[1]:.0f} s; now Argo Rollouts")
    beside = peer.measure(scene, names, (first, second))
    for name, outcome in beside.items():
        say(f"{name}: {brief(outcome, number)}")
    outcomes = begun(scene, names, (first, second), rest_seconds)
    say("half of them follow an alias, which moves")
    followers = names[: number // 2]
    registry = scene.registry
    registry.alias("fraud", "champion", registry.version("fraud", second))
    follow = {"runID": None, "uri": "models:/fraud@champion"}
    phases.changed(scene, NAMESPACE, followers, follow, second)
    registry.alias("fraud", "champion", registry.version("fraud", third))
    outcomes["alias moved"] = phases.changed(scene, NAMESPACE, followers, {}, third)
    say("deleted")
    outcomes["deleted"] = phases.deleted(scene, NAMESPACE)
    scene.operator.stop()
    return Results(number, floor, beside, outcomes)


def begun(scene: Scene, names: list[str], runs: tuple[str, str], rest_seconds: float) -> dict[str, Outcome]:
    """The operator's first phases; it runs at their end."""
    scene.operator.start()
    say("ModelDeployments, created")
    outcomes = {"created": phases.created(scene, NAMESPACE, names, runs[0])}
    say("changed to another run")
    outcomes["changed"] = phases.changed(scene, NAMESPACE, names, {"runID": runs[1]}, runs[1])
    say("at rest")
    outcomes["at rest"] = phases.at_rest(scene, rest_seconds)
    say("the operator restarted")
    outcomes["restarted"] = phases.restarted(scene, len(names))
    return outcomes


def glance(scene: Scene, number: int, rest_seconds: float) -> str:
    """The first phases alone, without the floor and the peer: what the operator costs, in a quarter of the time."""
    names = [f"model-{index}" for index in range(number)]
    outcomes = begun(scene, names, (scene.registry.run(), scene.registry.run()), rest_seconds)
    scene.operator.stop()
    return "".join(f"{name}: {brief(outcome, number)}\n" for name, outcome in outcomes.items())


def say(what: str) -> None:
    print(f"benchmark: {what}", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.controlplane", description=__doc__)
    parser.add_argument("--objects", type=int, default=1000)
    parser.add_argument("--rest-seconds", type=float, default=330.0, help="long enough for watches to be renewed")
    parser.add_argument("--glance", action="store_true", help="the first phases; no floor, no peer, no report")
    parser.add_argument("--report", type=Path, default=ROOT / "docs/scale.md", help="the file to write")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, scene(Path(directory)) as made:
        if chosen.glance:
            print(glance(made, chosen.objects, chosen.rest_seconds), end="")
            return 0
        results = measure(made, chosen.objects, chosen.rest_seconds)
    text = render(results)
    print(text)
    chosen.report.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
