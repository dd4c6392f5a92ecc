"""Fairlead's service: trains scikit-learn models, tracks them in MLflow, and serves them over HTTP."""

import os

# pydantic would look through all installed packages for plug-ins at each start, which takes a seventh of it.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
