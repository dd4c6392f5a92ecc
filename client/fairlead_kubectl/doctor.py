"""`kubectl fairlead doctor`: whether an installation is what it should be. Pure; `survey` asks the cluster.

Each check is one small function `Survey → Check`. What the user may not see is unknown, not wrong.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from typing import Final, Literal
from urllib.parse import urlsplit

from fairlead_kubectl.advice import FOR_PEOPLE, PROGRESS
from fairlead_kubectl.expected import VERSION, fields, fields_of
from fairlead_kubectl.reading import Json, condition

State = Literal["ok", "warning", "bad", "unknown", "skipped"]


@dataclass(frozen=True)
class Unknown:
    """What could not be asked, and why."""

    why: str
    absent: bool = False
    """The API server says that there is none."""


@dataclass(frozen=True)
class Right:
    verb: str
    resource: str
    allowed: bool
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}"


@dataclass(frozen=True)
class Survey:
    """What the cluster answered."""

    server: str
    crd: Json | Unknown
    operators: tuple[Json, ...] | Unknown
    operator_rights: tuple[Right, ...] | Unknown
    own_rights: tuple[Right, ...] | Unknown
    metrics: str | Unknown
    """The operator's own, as Prometheus would read them."""
    mlflow: tuple[Json, ...] | Unknown
    """Deployments of MLflow that came with the chart."""
    prometheus: Mapping[str, float] | Unknown
    """Predictor pods that it scrapes with success, by namespace."""
    monitors: tuple[Json, ...] | Unknown
    api_services: Mapping[str, bool] | Unknown
    """Whether aggregated APIs are available, by group."""
    groups: frozenset[str]
    resources: tuple[Json, ...] | Unknown

    @property
    def operator(self) -> Json | None:
        return self.operators[0] if not isinstance(self.operators, Unknown) and self.operators else None

    def setting(self, name: str) -> str:
        """An environment variable of the operator's container."""
        if self.operator is None:
            return ""
        (container, *_) = self.operator["spec"]["template"]["spec"]["containers"]
        found = (one.get("value", "") for one in container.get("env") or [] if one["name"] == name)
        return str(next(found, ""))


@dataclass(frozen=True)
class Check:
    name: str
    state: State
    text: str
    next: str = ""
    """What to do about it."""

    def to_json(self) -> Json:
        return asdict(self)


def examine(survey: Survey) -> list[Check]:
    return [check(survey) for check in _CHECKS]


def _cluster(survey: Survey) -> Check:
    return Check("cluster", "ok", f"Kubernetes {survey.server} answers")


def _crd(survey: Survey) -> Check:
    crd = survey.crd
    if isinstance(crd, Unknown):
        if crd.absent:
            return Check("CRD", "bad", "ModelDeployment is not known", "helm install fairlead charts/fairlead")
        return Check("CRD", "unknown", crd.why)
    if (condition(crd, "Established") or {}).get("status") != "True":
        message = (condition(crd, "NamesAccepted") or {}).get("message", "")
        return Check(
            "CRD", "bad", f"it is not established: {message}", "kubectl describe crd modeldeployments.fairlead.dev"
        )
    served = [version for version in crd["spec"]["versions"] if version.get("served")]
    names = ", ".join(version["name"] for version in served)
    known = {field for version in served for field in fields_of(version["schema"]["openAPIV3Schema"])}
    missing = sorted(field for field in fields() - known if field.startswith(("spec.", "status.")))
    if missing:
        shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        update = "kubectl apply --server-side --filename manifests/crd.yaml, or upgrade the release"
        return Check("CRD", "warning", f"{names}, without fields of version {VERSION}: {shown}", update)
    return Check("CRD", "ok", f"{names}, with all fields of version {VERSION}")


def _operator(survey: Survey) -> Check:
    if isinstance(survey.operators, Unknown):
        return Check("operator", "unknown", survey.operators.why)
    if not survey.operators:
        return Check(
            "operator", "bad", "no operator is installed by the chart", "helm install fairlead charts/fairlead"
        )
    where = [f"{one['metadata']['namespace']}/{one['metadata']['name']}" for one in survey.operators]
    if len(where) > 1 and not survey.setting("FAIRLEAD_OPERATOR_WATCH_NAMESPACES"):
        return Check("operator", "bad", f"{len(where)} of them write the same objects: {', '.join(where)}", "keep one")
    operator = survey.operators[0]
    running = int((operator.get("status") or {}).get("availableReplicas", 0))
    version = (operator["metadata"].get("labels") or {}).get("app.kubernetes.io/version", "of unknown version")
    if not running:
        look = f"kubectl describe pods --namespace {operator['metadata']['namespace']} --selector {OPERATOR_PODS}"
        return Check("operator", "bad", f"{where[0]}, {version}, is not available", look)
    if version != VERSION:
        return Check(
            "operator", "warning", f"{where[0]} runs {version}, this plug-in is of {VERSION}", "use the same version"
        )
    return Check("operator", "ok", f"{where[0]}, {version}, runs")


OPERATOR_PODS: Final = "app.kubernetes.io/component=operator"


def _operator_rights(survey: Survey) -> Check:
    return _rights(
        "operator's rights", survey.operator_rights, "helm upgrade renews its role: manifests/operator-rules.yaml"
    )


def _own_rights(survey: Survey) -> Check:
    found = _rights("your rights", survey.own_rights, "ask whoever administers the cluster")
    return Check(found.name, "warning", found.text, found.next) if found.state == "bad" else found


def _rights(name: str, rights: tuple[Right, ...] | Unknown, mend: str) -> Check:
    if isinstance(rights, Unknown):
        return Check(name, "unknown", rights.why)
    denied = [str(right) for right in rights if not right.allowed]
    if not denied:
        return Check(name, "ok", f"all {len(rights)} that are needed")
    shown = ", ".join(denied[:5]) + (f" and {len(denied) - 5} more" if len(denied) > 5 else "")
    return Check(name, "bad", f"may not: {shown}", mend)


def _mlflow(survey: Survey) -> Check:
    uri = survey.setting("FAIRLEAD_OPERATOR_MLFLOW_TRACKING_URI")
    if isinstance(survey.metrics, Unknown):
        return Check("MLflow", "unknown", f"{uri or 'no address is known'}: {survey.metrics.why}")
    up, calls = sample(survey.metrics, "fairlead_registry_up"), sample(survey.metrics, "fairlead_registry_calls_total")
    if up == 0.0:
        return Check("MLflow", "bad", f"{uri} did not answer the operator's last question", _mlflow_pods(survey))
    asked = "answers the operator" if calls else "has not been asked by the operator yet"
    return Check("MLflow", "ok", f"{uri} {asked}")


def _mlflow_pods(survey: Survey) -> str:
    home = survey.operator["metadata"]["namespace"] if survey.operator else "fairlead"
    return f"kubectl get pods --namespace {home} --selector app.kubernetes.io/component=mlflow"


def _mlflow_hosts(survey: Survey) -> Check:
    """MLflow answers 403 to Host headers that it does not know."""
    name, uri = "MLflow's hosts", survey.setting("FAIRLEAD_OPERATOR_MLFLOW_TRACKING_URI")
    if isinstance(survey.mlflow, Unknown):
        return Check(name, "unknown", survey.mlflow.why)
    if not survey.mlflow or not uri:
        return Check(name, "skipped", "MLflow is not part of this release")
    allowed = allowed_hosts(survey.mlflow[0])
    host = urlsplit(uri).netloc.rpartition("@")[2]
    if allowed is None:
        return Check(
            name, "warning", "no --allowed-hosts: MLflow takes only localhost", "set mlflow.allowedHosts in the chart"
        )
    if not any(fnmatch(host, pattern) for pattern in allowed):
        return Check(
            name,
            "bad",
            f"{host} is not allowed, so every call is answered 403",
            "add it to mlflow.allowedHosts in the chart",
        )
    return Check(name, "ok", f"{host} is allowed")


def allowed_hosts(deployment: Json) -> list[str] | None:
    """Of the server's arguments; None if it has no such argument."""
    (container, *_) = deployment["spec"]["template"]["spec"]["containers"]
    words = [*(container.get("command") or []), *(container.get("args") or [])]
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word.startswith("--allowed-hosts"):
            return str(word.partition("=")[2] or following).split(",")
    return None


def _prometheus(survey: Survey) -> Check:
    name, url = "Prometheus", survey.setting("FAIRLEAD_OPERATOR_PROMETHEUS_URL")
    if survey.operator is None:
        return Check(name, "skipped", "there is no operator to ask for its address")
    if not url:
        need = "canaries, KEDA and drift need operator.prometheus.url in the chart"
        wanting = [_full(one) for one in _known(survey.resources) if _strategy(one) == "Canary" or _scales(one)]
        if wanting:
            return Check(name, "bad", f"the operator has no address of one, and {wanting[0]} needs it", need)
        return Check(name, "skipped", "the operator has no address of one", need)
    if isinstance(survey.prometheus, Unknown):
        return Check(name, "bad" if survey.prometheus.absent else "unknown", f"{url}: {survey.prometheus.why}")
    return Check(name, "ok", f"{url} answers")


def _scraping(survey: Survey) -> Check:
    """Counted by what Prometheus says of the pods, not by what the monitors ask for."""
    if isinstance(survey.prometheus, Unknown) or not survey.setting("FAIRLEAD_OPERATOR_PROMETHEUS_URL"):
        return Check("scraping", "skipped", "Prometheus could not be asked")
    want: dict[str, int] = {}
    for one in _known(survey.resources):
        ready = int((one.get("status") or {}).get("readyReplicas") or 0)
        where = one["metadata"]["namespace"]
        want[where] = want.get(where, 0) + ready
    blind = [where for where, ready in sorted(want.items()) if ready and not survey.prometheus.get(where)]
    if blind:
        has = isinstance(survey.monitors, Unknown) or survey.monitors
        mend = (
            "compare monitoring.labels of the chart with Prometheus' selectors"
            if has
            else "set monitoring.enabled in the chart"
        )
        return Check("scraping", "bad", f"no pod is scraped in {', '.join(blind)}", mend)
    pods, ready = sum(survey.prometheus.values()), sum(want.values())
    return Check("scraping", "ok", f"{pods:.0f} predictor pods are scraped, {ready} are ready")


def _autoscaling(survey: Survey) -> Check:
    default = survey.setting("FAIRLEAD_OPERATOR_AUTOSCALING_ENGINE") or "KEDA"
    scaled = [one for one in _known(survey.resources) if _scales(one)]
    engines = sorted({(one["spec"]["autoscaling"].get("engine") or default) for one in scaled}) or [default]
    missing = [why for engine in engines if (why := _engine_lacks(survey, engine))]
    if missing:
        state: State = "bad" if scaled else "skipped"
        text = "; ".join(missing) + (
            f"; {_full(scaled[0])} wants to be scaled" if scaled else "; no model wants to be scaled"
        )
        return Check("autoscaling", state, text, "docs/scaling.md has the command that installs it")
    return Check("autoscaling", "ok", f"{' and '.join(engines)} can scale models; {len(scaled)} want it")


def _engine_lacks(survey: Survey, engine: str) -> str:
    group = "external.metrics.k8s.io" if engine == "KEDA" else "custom.metrics.k8s.io"
    if engine == "KEDA" and "keda.sh" not in survey.groups:
        return "KEDA is not installed"
    if isinstance(survey.api_services, Unknown):
        return "" if group in survey.groups else f"nothing serves {group}"
    if group not in survey.api_services:
        return f"nothing serves {group}, as {'KEDA' if engine == 'KEDA' else 'prometheus-adapter'} does"
    return "" if survey.api_services[group] else f"{group} is not available"


def _models(survey: Survey) -> Check:
    if isinstance(survey.resources, Unknown):
        return Check("models", "unknown", survey.resources.why)
    wrong = [one for one in survey.resources if _wrong(one)]
    if wrong:
        first = wrong[0]["metadata"]
        names = ", ".join(_full(one) for one in wrong[:5]) + (" …" if len(wrong) > 5 else "")
        why = f"kubectl fairlead why {first['name']} --namespace {first['namespace']}"
        return Check(
            "models", "warning", f"{len(wrong)} of {len(survey.resources)} are not as they should be: {names}", why
        )
    return Check("models", "ok", f"all {len(survey.resources)} are as they should be")


def _wrong(resource: Json) -> bool:
    for kind in ("Ready", "UpToDate"):
        found = condition(resource, kind) or {}
        if found.get("status") != "True" and found.get("reason") not in PROGRESS | FOR_PEOPLE:
            return True
    return False


def _known(resources: tuple[Json, ...] | Unknown) -> tuple[Json, ...]:
    return () if isinstance(resources, Unknown) else resources


def _strategy(resource: Json) -> str:
    return str((resource["spec"].get("rollout") or {}).get("strategy", "Rolling"))


def _scales(resource: Json) -> bool:
    return bool(resource["spec"].get("autoscaling"))


def _full(resource: Json) -> str:
    return f"{resource['metadata']['namespace']}/{resource['metadata']['name']}"


def sample(text: str, name: str) -> float | None:
    """The sum of a metric's series in Prometheus' text format; None if there are none."""
    found = re.findall(rf"^{re.escape(name)}(?:{{[^}}]*}})? (\S+)", text, re.MULTILINE)
    return sum(map(float, found)) if found else None


_CHECKS: Final[tuple[Callable[[Survey], Check], ...]] = (
    _cluster, _crd, _operator, _operator_rights, _own_rights, _mlflow, _mlflow_hosts, _prometheus, _scraping,
    _autoscaling, _models,
)  # fmt: skip
