"""Argo Rollouts at the same work: as many Rollouts with the same pods, in the same run, by the same clients.

A Rollout has ReplicaSets only. A ModelDeployment's Service and NetworkPolicy are the user's to make there, and to tell
the registry what became of the model is nobody's work.
"""

import time
from pathlib import Path

from benchmarks.controlplane.phases import Outcome, another_run, each, measured, plain, run_of
from benchmarks.controlplane.scene import PEER_ACCOUNT, Scene
from benchmarks.controlplane.watching import Milestones, await_gone, await_quiet, reach

from tests.controlplane.cluster import Object, path, rights
from tools.localcluster import binaries, building
from tools.localcluster.controlplane import free_port
from tools.localcluster.processes import Daemon

VERSION = binaries.ARGO_ROLLOUTS.linker_flags.rpartition("=")[2]
NAMESPACE = "rollouts"
RULES = Path(__file__).parent / "peer-rules.yaml"


def measure(scene: Scene, names: list[str], runs: tuple[str, str]) -> dict[str, Outcome]:
    """Created, and changed to another run."""
    controller = _start(scene)
    assert controller.identity is not None
    pid, api = controller.identity.pid, scene.api
    scene.plane.kubectl("create", "namespace", NAMESPACE)
    asks = {
        "created": lambda name: api.create("rollout", _rollout(name, runs[0])),
        "changed": lambda name: api.patch("rollout", NAMESPACE, name, another_run(NAMESPACE, name, runs[1])),
    }
    outcomes = {}
    try:
        for (phase, ask), run_id in zip(asks.items(), runs, strict=True):
            with measured(scene, pid, PEER_ACCOUNT) as outcome:
                began = time.monotonic()
                each(names, ask)
                reached = reach(api, "rollout", NAMESPACE, len(names), _milestones(run_id))
                outcome.seconds = {name: at - began for name, at in reached.items()}
                await_quiet(api)
            outcomes[phase] = outcome
        api.request("DELETE", path("rollout", NAMESPACE), params={"propagationPolicy": "Background"})
        await_gone(api, ("rollout", "replicaset", "pod"), NAMESPACE)
        await_quiet(api)
    finally:
        controller.stop()
    return outcomes


def _start(scene: Scene) -> Daemon:
    """As it comes, but for the election: there is one of it."""
    program = binaries.ensure(["argo-rollouts"])["argo-rollouts"]
    for file in sorted((program.parent / building.CRDS).glob("*-crd.yaml")):
        scene.plane.kubectl("create", "-f", str(file))
    scene.plane.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
    scene.plane.kubectl("create", "namespace", "argo-rollouts")
    kubeconfig = rights(scene.plane, RULES, hours=4, account=PEER_ACCOUNT)
    ports = [f"--metricsPort={free_port()}", f"--healthzPort={free_port()}"]
    command = [program, f"--kubeconfig={kubeconfig}", *ports, "--leader-elect=false"]
    run, logs = scene.directory / "run", scene.directory / "logs"
    controller = Daemon("argo-rollouts", command, run, logs, die_with_parent=True)
    controller.start()
    return controller


def _milestones(run_id: str) -> Milestones:
    def seen(obj: Object) -> bool:
        status = obj.get("status", {})
        return run_of(obj) == run_id and status.get("observedGeneration") == str(obj["metadata"]["generation"])

    def healthy(obj: Object) -> bool:
        return seen(obj) and obj["status"].get("phase") == "Healthy"

    return {"first status": seen, "Ready": healthy}


def _rollout(name: str, run_id: str) -> Object:
    deployment = plain(NAMESPACE, name, run_id)
    spec = {field: deployment["spec"][field] for field in ("replicas", "selector", "template", "revisionHistoryLimit")}
    canary = {"maxSurge": 1, "maxUnavailable": 0}
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Rollout",
        "metadata": {"namespace": NAMESPACE, "name": name},
        "spec": spec | {"strategy": {"canary": canary}},
    }
