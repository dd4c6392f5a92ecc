"""`make lint`: what the chart renders and what the operator makes, scored by kube-score.

Each of the chart's profiles, `values-production.yaml`, the children of each sample and of a canary, and the Job that
moves MLflow must have no finding but those of `EXEMPT`, where each says why. An exemption that nothing needs any more
is a finding, too.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from fairlead_operator.api import ModelDeployment, ModelRef
from fairlead_operator.desired import desired
from fairlead_operator.desired.pods import PodDefaults, Template, Trial
from fairlead_operator.desired.surroundings import Surroundings
from tools.cluster import ROOT
from tools.localcluster import binaries
from tools.localcluster.paths import LocalClusterError

CHART: Final = ROOT / "charts/fairlead"
KUBERNETES: Final = binaries.DEFAULT_KUBERNETES
FINE: Final = 7
"""kube-score's grades: 1 critical, 5 warning, 7 almost fine, 10 fine."""
OPTIONAL: Final = ("container-seccomp-profile", "container-ports-check")
"""Checks that it makes only when it is asked to."""


@dataclass(frozen=True)
class Finding:
    """One check that one object does not pass."""

    source: str
    """A profile of the chart, or the ModelDeployment that the object belongs to."""
    place: str
    """`Kind/name`."""
    check: str
    said: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.source}: {self.place}: {self.check}: {'; '.join(self.said)}"


@dataclass(frozen=True)
class Exempt:
    """A check that does not fit some objects."""

    check: str
    objects: str
    """Regular expression that matches all of `SOURCE: Kind/name`."""
    why: str

    def covers(self, finding: Finding) -> bool:
        place = f"{finding.source}: {finding.place}"
        return finding.check == self.check and re.fullmatch(self.objects, place) is not None


EXEMPT: Final = (
    Exempt(
        "container-image-pull-policy",
        ".*",
        "Tags are never moved, digests cannot be: with `Always` no pod would start while the registry is away.",
    ),
    Exempt(
        "container-ephemeral-storage-request-and-limit",
        ".*",
        "Root file systems are read-only and the chart's emptyDirs have a sizeLimit, which follows `persistence.size`: "
        "a second limit would have to be raised with it. Of predictors, `spec.resources` may have both.",
    ),
    Exempt(
        "container-resources",
        "sample [^:]+: Deployment/.*",
        "What a model needs is its resource's to say (`spec.resources`); the operator does not guess.",
    ),
    Exempt(
        "pod-networkpolicy",
        "(?!production|values-production|migration|sample )[^:]+: .*",
        "`networkPolicy.enabled` is off by default, for what else is in the namespace; `production: true` asks for it.",
    ),
    Exempt(
        "pod-probes-identical",
        "[^:]+: Deployment/[a-z-]+-mlflow",
        "MLflow has one page of health. Liveness is four times as patient as readiness.",
    ),
    Exempt(
        "deployment-strategy",
        "[^:]+: Deployment/[a-z-]+-(mlflow|api)",
        "SQLite has one writer, and a ReadWriteOnce volume one node.",
    ),
    Exempt(
        "deployment-strategy",
        "sample canary: Deployment/canary-canary",
        "A candidate; the pods that serve are the other Deployment's.",
    ),
    Exempt(
        "deployment-replicas",
        "[^:]+: Deployment/[a-z-]+-(operator|mlflow|api)",
        "One operator, as above; one MLflow as long as it keeps its data itself; of the API each replica has a model "
        "and a queue of trainings of its own, so how many there are is for its owner to say.",
    ),
    Exempt(
        "deployment-replicas",
        "sample [^:]+: Deployment/.*",
        "`spec.replicas`, its autoscaler, or the size of a canary says how many.",
    ),
    Exempt(
        "deployment-has-host-podantiaffinity",
        "sample [^:]+: Deployment/.*",
        "Predictors have a topology spread constraint over nodes, which says the same and `spec.affinity` adds to.",
    ),
    Exempt(
        "container-security-context-user-group-id",
        "openshift: .*",
        "The platform chooses the ids.",
    ),
)


def judge(findings: Iterable[Finding], exempt: Iterable[Exempt] = EXEMPT) -> list[str]:
    """What is wrong, for people: findings that nothing covers, then exemptions that cover nothing."""
    findings, exempt = tuple(findings), tuple(exempt)
    open_ones = [str(finding) for finding in findings if not any(one.covers(finding) for one in exempt)]
    unused = [
        f"tools/scored.py: nothing needs the exemption from {one.check} of {one.objects}; take it out"
        for one in exempt
        if not any(one.covers(finding) for finding in findings)
    ]
    return open_ones + unused


def parse(source: str, scored: list[dict[str, Any]]) -> Iterator[Finding]:
    """The findings in kube-score's JSON (version 2)."""
    for one in scored:
        place = f"{one['type_meta']['kind']}/{one['object_meta']['name']}"
        for check in one["checks"]:
            if check["skipped"] or check["grade"] >= FINE:
                continue
            said = (f"{it['path']}: {it['summary']}" if it["path"] else it["summary"] for it in check["comments"] or ())
            yield Finding(source, place, check["check"]["id"], tuple(said))


def profiles() -> Iterator[tuple[str, Path]]:
    """Names and values of everything that the chart is scored with; the first is the chart as it comes."""
    for path in sorted((CHART / "ci").glob("*-values.yaml")):
        yield path.name.removesuffix("-values.yaml"), path
    yield "values-production", CHART / "values-production.yaml"


def children() -> Iterator[tuple[str, str]]:
    """What the operator makes of each sample, and of a canary, as YAML."""
    defaults = PodDefaults(image="fairlead-service:1", tracking_uri="http://mlflow.fairlead.svc:5000")
    around = Surroundings(prometheus_url="http://prometheus.monitoring.svc:9090")
    model, other = (ModelRef(run_id=digit * 32, model_uri=f"models:/iris/{digit}") for digit in "12")
    canary = {
        "metadata": {"name": "canary", "namespace": "models"},
        "spec": {"model": {"uri": "models:/iris@champion"}},
    }
    samples = [
        document
        for path in sorted((ROOT / "manifests/samples").glob("*.yaml"))
        for document in yaml.safe_load_all(path.read_text())
        if document["kind"] == "ModelDeployment"
    ]
    for raw in (*samples, canary):
        metadata = raw["metadata"] | {"uid": "0", "generation": 1}
        resource = ModelDeployment.model_validate({"metadata": metadata, "spec": raw["spec"]})
        replicas = None if resource.spec.autoscaling else resource.spec.replicas or 2
        template = Template(model, defaults.image, replicas)
        trial = Trial(other, defaults.image, 1) if raw is canary else None
        made = desired(resource, template, defaults, trial, around=around)
        yield f"sample {resource.metadata.name}", yaml.safe_dump_all(made.manifests)


def rendered(helm: Path) -> Iterator[tuple[str, str]]:
    """The chart for each profile, as YAML."""
    for name, values in profiles():
        command: list[str | Path] = [helm, "template", "fairlead", CHART]
        command += ["--namespace", "fairlead", "--kube-version", KUBERNETES]
        done = subprocess.run([*command, "--values", values], capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise LocalClusterError(f"{values.relative_to(ROOT)} does not render: {done.stderr.strip()}")
        yield name, done.stdout


def others() -> Iterator[tuple[str, str]]:
    """Manifests that people apply themselves."""
    yield "migration", (ROOT / "manifests/mlflow-migration.yaml").read_text()


def score(kube_score: Path, source: str, manifests: str) -> list[Finding]:
    """kube-score's findings about some YAML. It ends with 1 if there are any, and says nothing at all about none."""
    if not manifests.strip():
        return []
    version = f"v{KUBERNETES.rpartition('.')[0]}"
    command: list[str | Path] = [kube_score, "score", "-", "--output-format", "json", "--kubernetes-version", version]
    command += ["--ignore-container-cpu-limit"]  # a limit throttles what would else use an idle processor
    for check in OPTIONAL:
        command += ["--enable-optional-test", check]
    done = subprocess.run(command, input=manifests, capture_output=True, text=True, timeout=60, check=False)
    try:
        return list(parse(source, json.loads(done.stdout)))
    except json.JSONDecodeError:
        raise LocalClusterError(f"kube-score did not take {source}: {done.stderr.strip()}") from None


def main() -> int:
    """0 clean, 1 not."""
    try:
        programs = binaries.ensure(("helm", "kube-score"))
        sources = [*rendered(programs["helm"]), *children(), *others()]
        findings = [one for source, text in sources for one in score(programs["kube-score"], source, text)]
    except LocalClusterError as error:
        print(f"scored: {error}", file=sys.stderr)
        return 1
    problems = judge(findings)
    for problem in problems:
        print(problem)
    if not problems:
        print(f"kube-score: {len(sources)} renderings, no finding but the exempted")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
