"""`kubectl fairlead`: what a platform engineer asks about a ModelDeployment, and tells it.

`cluster` is the only module that talks to the outside, by calling the user's own `kubectl`; `why`, `doctor`, `decide`
and the rest are pure functions over the objects that it prints. Nothing of the operator or the service is imported.
"""
