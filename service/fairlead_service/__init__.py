"""Fairlead's service: trains scikit-learn models, tracks them in MLflow, and serves them over HTTP."""
