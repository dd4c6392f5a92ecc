"""`updatePolicy: Manual`: whether a model that an alias means now has to wait for somebody's word. Pure; `rollout.plan`
asks.

Only what an alias brings waits: a version or a run in the spec was somebody's word already. The first model does not
wait either, since nothing serves that it could replace.
"""

from fairlead_operator.api import APPROVE_ANNOTATION, ModelDeployment, ModelRef, Status


def waits(md: ModelDeployment, wanted: ModelRef, old: Status) -> bool:
    """What serves or is on trial was let in before, so it goes on when the annotation is taken away."""
    if md.spec.model.update_policy == "Auto" or wanted.alias is None or old.serving is None:
        return False
    let_in = (old.serving, old.candidate)
    if any(known is not None and known.model_uri == wanted.model_uri for known in let_in):
        return False
    return not md.metadata.says(APPROVE_ANNOTATION, wanted)


def command(md: ModelDeployment, wanted: ModelRef) -> str:
    """What somebody types who wants it."""
    metadata = md.metadata
    return (
        f"kubectl annotate modeldeployment {metadata.name} --namespace {metadata.namespace} --overwrite "
        f"{APPROVE_ANNOTATION}={wanted.model_version or wanted.run_id}"
    )
