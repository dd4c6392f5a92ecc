"""What a reason mostly means and what to do next: a table, in the words of Kubernetes and of the operator.

Keys are reasons of conditions (`Reason` in the operator's api.py; a test compares the two), of pods and of containers.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from fairlead_kubectl.reading import ANOTHER_TRIAL, Json

PROGRESS: Final = frozenset({"RolloutInProgress", "CanaryInProgress", "Starting", "Resolving"})
"""Nothing is wrong yet: time will tell."""
FOR_PEOPLE: Final = frozenset({"Suspended", "UpdateAvailable"})
"""The wanted model does not serve, and that is somebody's wish."""
WELL: Final = FOR_PEOPLE | frozenset({"Serving", "Resolved", "UpToDate", "AutoscalerInPlace", "NotDrifted"})
"""Nothing is wrong."""


@dataclass(frozen=True)
class Step:
    """Something to do: for people, and if it is a command, that."""

    text: str
    command: str = ""

    def filled(self, values: Mapping[str, str]) -> "Step":
        return Step(_fill(self.text, values), _fill(self.command, values))

    def to_json(self) -> Json:
        return {"text": self.text, "command": self.command} if self.command else {"text": self.text}


@dataclass(frozen=True)
class Advice:
    likely: str
    steps: tuple[Step, ...]
    when: str = ""
    """A regular expression that the message must match."""


_OPERATOR_LOG: Final = "kubectl logs --namespace <home> --selector app.kubernetes.io/component=operator --tail 100"
_LOGS: Final = Step("see what the pods said", "kubectl fairlead logs <name> <flags>")
_BACK: Final = Step("go back to the model before", "kubectl fairlead rollback <name> <flags>")
_DOCTOR: Final = Step("check the installation", "kubectl fairlead doctor")
_DESCRIBE: Final = Step("see its events", "kubectl describe pod <pod> <flags>")
_PREVIOUS: Final = Step("read its last words", "kubectl logs <pod> <flags> --container <container> --previous")
_AGAIN: Final = Step(f"what was rejected is tried again when {ANOTHER_TRIAL} changes")
_MODELS: Final = Step(
    "see what MLflow has",
    "kubectl port-forward service/fairlead-api 8000 --namespace <home> & curl localhost:8000/models",
)
_MEMORY: Final = Step(
    "give the pods more memory",
    "kubectl patch modeldeployment <name> <flags> --type merge --patch "
    '\'{"spec":{"resources":{"limits":{"memory":"4Gi"}}}}\'',
)
_IMAGE: Final = Advice(
    "The node cannot get the image: its name is wrong, or the registry does not answer or wants a credential.",
    (_DESCRIBE, Step("correct spec.image, or name the credential's Secret in spec.imagePullSecrets")),
)
_CRASHED: Final = Advice("A container ends by itself time and again.", (_PREVIOUS, _DESCRIBE))

TABLE: Final[Mapping[str, tuple[Advice, ...]]] = {
    "ModelNotFound": (
        Advice(
            "MLflow has no such run, version or alias, or the run has no model.",
            (_MODELS, Step("correct spec.model, or set the alias in MLflow"), _BACK),
        ),
    ),
    "ModelCorrupt": (
        Advice(
            "Files of the model are missing, cut off or changed in MLflow's artifact store.",
            (Step("log the model again; its version here will not heal"), _BACK, _AGAIN),
        ),
    ),
    "ModelRefused": (
        Advice(
            "The model does not fit into the memory of the pods.",
            (_MEMORY, Step("or train a smaller model")),
            when=r"memory|MiB|GiB",
        ),
        Advice(
            "The model is a pickle, or holds types that are not allowed: loading it could run foreign code.",
            (
                Step("log it again with MLflow 3, which writes skops"),
                Step(
                    "or, if you trust whoever can write to MLflow, allow it",
                    "kubectl patch modeldeployment <name> <flags> --type merge --patch "
                    '\'{"spec":{"model":{"allowPickle":true}}}\'',
                ),
            ),
        ),
    ),
    "ModelUnsupported": (
        Advice(
            "It is no scikit-learn model, or one whose input is not a matrix of numbers.",
            (Step("log a scikit-learn estimator that takes numbers"), _BACK),
        ),
    ),
    "VersionMismatch": (
        Advice(
            "The model was trained with other versions than the serving image has.",
            (
                Step("train it again with the image's versions, or set spec.image to an image with the model's"),
                Step("or loosen spec.model.versionPolicy (Strict, Minor, Warn)"),
            ),
        ),
    ),
    "SelfTestFailed": (
        Advice(
            "The model loads, but fails on its own input example.",
            (Step("try model.predict(input_example) where it was trained, and log it again"), _BACK),
        ),
    ),
    "TrackingServerUnavailable": (
        Advice(
            "MLflow does not answer. What serves goes on; the operator tries again by itself.",
            (
                Step(
                    "look at MLflow",
                    "kubectl get pods --namespace <home> --selector app.kubernetes.io/component=mlflow",
                ),
                _DOCTOR,
            ),
        ),
    ),
    "LoadFailed": (Advice("The loader or the server ended with an error that may pass.", (_LOGS, _DESCRIBE)),),
    "AnalysisFailed": (
        Advice(
            "The canary was worse than its thresholds and than what serves; it was taken back.",
            (Step("see the values", "kubectl fairlead status <name> <flags>"), _AGAIN),
        ),
    ),
    "AnalysisUnavailable": (
        Advice(
            "The canary cannot be judged: Prometheus does not answer, or does not scrape the pods.",
            (_DOCTOR, Step("or decide yourself", "kubectl fairlead promote <name> <flags>")),
        ),
    ),
    "Aborted": (Advice("Somebody took the canary back by annotation.", (_AGAIN,)),),
    "NameConflict": (
        Advice(
            "An object with a name that this resource needs belongs to somebody else.",
            (
                Step("look at it", "kubectl get deployments,services,configmaps <flags>"),
                Step("remove it, or give the ModelDeployment another name"),
            ),
        ),
    ),
    "InvalidSpec": (
        Advice(
            "The API server refuses what the spec asks for as invalid.",
            (Step("correct the field that the message names", "kubectl edit modeldeployment <name> <flags>"),),
        ),
    ),
    "ApplyRefused": (
        Advice(
            "The API server does not let the operator make an object: quota, admission policy or rights.",
            (Step("look at the quotas", "kubectl describe resourcequota <flags>"), _DOCTOR),
        ),
    ),
    "ApplyFailed": (
        Advice(
            "The API server could not take an object just now; the operator tries again by itself.",
            (Step("read the operator's log", _OPERATOR_LOG), _DOCTOR),
        ),
    ),
    "InternalError": (
        Advice(
            "The operator failed on this resource; that is a bug of Fairlead's.",
            (Step("read its log, and report it with the exception there", _OPERATOR_LOG),),
        ),
    ),
    "AutoscalerMissing": (
        Advice("Nothing in the cluster can scale the model; its pods stay as many as they are.", (_DOCTOR,)),
    ),
    "ProgressDeadlineExceeded": (
        Advice(
            "The model did not become ready in spec.rollout.progressDeadlineSeconds.",
            (_LOGS, Step("if it is only slow, raise spec.rollout.progressDeadlineSeconds"), _BACK),
        ),
    ),
    "NoPodAvailable": (Advice("A proven model is there, but none of its pods answers now.", (_LOGS, _DESCRIBE)),),
    "ScaledToZero": (
        Advice(
            "No replicas are wanted, so nothing answers.",
            (Step("scale it", "kubectl scale modeldeployment <name> <flags> --replicas 2"),),
        ),
    ),
    "Drifted": (
        Advice(
            "Requests or predictions look otherwise than those the model was trained on. It serves on.",
            (Step("look at the features that drifted; train on newer data"),),
        ),
    ),
    # pods and containers
    "ImagePullBackOff": (_IMAGE,),
    "ErrImagePull": (_IMAGE,),
    "ErrImageNeverPull": (_IMAGE,),
    "InvalidImageName": (_IMAGE,),
    "Unschedulable": (
        Advice(
            "No node has room for the pod.",
            (
                Step("see what is free", "kubectl describe nodes"),
                Step("lower spec.resources.requests or spec.replicas, or add nodes"),
            ),
            when=r"Insufficient|Too many pods",
        ),
        Advice(
            "No node may take the pod: spec.nodeSelector, spec.affinity or spec.tolerations rule all out.",
            (Step("compare with the nodes", "kubectl get nodes --show-labels"),),
        ),
    ),
    "CreateContainerConfigError": (
        Advice(
            "A Secret or ConfigMap that spec.env or spec.cache names is not there, or lacks the key.",
            (_DESCRIBE, Step("see which there are", "kubectl get secrets,configmaps <flags>")),
        ),
    ),
    "OOMKilled": (Advice("A container took more memory than its limit.", (_MEMORY,)),),
    "CrashLoopBackOff": (_CRASHED,),
    "ContainerFailed": (_CRASHED,),
    "FailedMount": (
        Advice(
            "A volume of the pod cannot be mounted.", (_DESCRIBE, Step("see the claims", "kubectl get pvc <flags>"))
        ),
    ),
    "Evicted": (Advice("The node was short of memory or disk and put the pod out.", (_DESCRIBE,)),),
    "ReplicaFailure": (
        Advice(
            "A quota of the namespace is used up.",
            (Step("look at it", "kubectl describe resourcequota <flags>"),),
            when="exceeded quota",
        ),
        Advice(
            "Pods cannot be made: the API server refuses them.",
            (Step("read the refusal", "kubectl describe replicasets <flags> --selector <selector>"),),
        ),
    ),
}
_OF_PODS: Final = tuple(
    key for key in TABLE if key.startswith(("Image", "Err", "InvalidI", "Unsched", "OOM", "Crash", "FailedM"))
)


def find(reason: str, message: str) -> Advice | None:
    """The first advice on the reason whose condition the message meets."""
    entries = TABLE.get(reason, ())
    return next((advice for advice in entries if not advice.when or re.search(advice.when, message)), None)


def pod_word(message: str) -> str:
    """What Kubernetes calls the trouble of pods that are gone, where a condition's message still tells of it."""
    return next((word for word in _OF_PODS if word in message), "")


def _fill(text: str, values: Mapping[str, str]) -> str:
    return re.sub(r"<(\w+)>", lambda found: values.get(found[1], found[0]), text)
