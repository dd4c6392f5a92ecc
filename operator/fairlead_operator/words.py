"""What people say about models by annotations of a ModelDeployment: whether they said it of this one, and who it was.
Pure."""

from fairlead_operator.api import Manifest, Metadata, ModelRef


def author(obj: Manifest, annotation: str, model: ModelRef) -> str | None:
    """The field manager that last wrote the annotation, if the annotation names the model; None if it does not, or if
    the API server does not tell."""
    if not Metadata.model_validate(obj["metadata"]).says(annotation, model):
        return None
    wrote = [entry for entry in obj["metadata"].get("managedFields", []) if _sets(entry, annotation)]
    newest: Manifest = max(wrote, key=lambda entry: str(entry.get("time", "")), default={})
    return newest.get("manager")


def _sets(entry: Manifest, annotation: str) -> bool:
    annotations = entry.get("fieldsV1", {}).get("f:metadata", {}).get("f:annotations", {})
    return f"f:{annotation}" in annotations
