"""The order of the phases, and the report."""

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.controlplane import phases
from benchmarks.controlplane.report import Results, brief, render
from benchmarks.controlplane.scene import ROOT, Scene, scene

NAMESPACE = "models"


def measure(scene: Scene, number: int, rest_seconds: float) -> Results:
    names = [f"model-{index}" for index in range(number)]
    first, second, third = (scene.registry.run() for _ in range(3))
    say("floor: plain Deployments, created and changed")
    floor = phases.floor(scene, names, (first, second))
    say(f"floor: {floor[0]:.0f} s, {floor[1]:.0f} s; now ModelDeployments, created")
    scene.operator.start()
    outcomes = {"created": phases.created(scene, NAMESPACE, names, first)}
    say("changed to another run")
    outcomes["changed"] = phases.changed(scene, NAMESPACE, names, {"runID": second}, second)
    say("at rest")
    outcomes["at rest"] = phases.at_rest(scene, rest_seconds)
    say("the operator restarted")
    outcomes["restarted"] = phases.restarted(scene, number)
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
    return Results(number, floor, outcomes)


def glance(scene: Scene, number: int) -> str:
    """The first phases alone, without the floor: what the operator costs, in a quarter of the time."""
    names = [f"model-{index}" for index in range(number)]
    first, second = (scene.registry.run() for _ in range(2))
    scene.operator.start()
    outcomes = {}
    for name, phase in (
        ("created", lambda: phases.created(scene, NAMESPACE, names, first)),
        ("changed", lambda: phases.changed(scene, NAMESPACE, names, {"runID": second}, second)),
        ("restarted", lambda: phases.restarted(scene, number)),
    ):
        say(name)
        outcomes[name] = phase()
    scene.operator.stop()
    return "".join(f"{name}: {brief(outcome, number)}\n" for name, outcome in outcomes.items())


def say(what: str) -> None:
    print(f"benchmark: {what}", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.controlplane", description=__doc__)
    parser.add_argument("--objects", type=int, default=1000)
    parser.add_argument("--rest-seconds", type=float, default=330.0, help="long enough for watches to be renewed")
    parser.add_argument("--glance", action="store_true", help="created, changed, restarted; no floor, no report")
    parser.add_argument("--report", type=Path, default=ROOT / "docs/scale.md", help="the file to write")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, scene(Path(directory)) as made:
        if chosen.glance:
            print(glance(made, chosen.objects), end="")
            return 0
        results = measure(made, chosen.objects, chosen.rest_seconds)
    text = render(results)
    print(text)
    chosen.report.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
