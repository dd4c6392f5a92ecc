"""Fairlead's operator: rolls pods to the MLflow model that a ModelDeployment names."""
