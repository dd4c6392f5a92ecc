"""The trainer: fit one of the registered algorithms, evaluate it, log it to MLflow, write its bundle.

Runs as `python -m fairlead_service.training`, a child of the server. Never imported by the server.
"""
