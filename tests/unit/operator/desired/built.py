"""Pods as the operator makes them, checked against Kubernetes' own schema."""

import json
from typing import Any

import kubernetes_validate

from fairlead_operator.desired import deployment
from fairlead_operator.desired.pods import PodDefaults, Template
from tests.unit.operator import samples
from tests.unit.operator.samples import DEFAULTS


def pod(md: Any, defaults: PodDefaults = DEFAULTS) -> tuple[Any, Any, Any]:
    """Its spec, its loader and its server."""
    built = deployment.build(md, Template(samples.model(), "i", 1), defaults)
    kubernetes_validate.validate(json.loads(json.dumps(built)), "1.37", strict=True)
    spec = built["spec"]["template"]["spec"]
    return spec, spec["initContainers"][0], spec["containers"][0]
