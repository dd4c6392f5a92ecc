"""Pure builders: one file a child kind, one function each, `(md, …) → manifest`. They share nothing mutable."""

from fairlead_operator.desired.children import Desired, desired
from fairlead_operator.desired.deployment import revision

__all__ = ["Desired", "desired", "revision"]
