"""The loader: fetch a model from MLflow, check it, prove it, write the bundle the server reads.

Runs as `python -m fairlead_service.loading`, in a pod's init container or as the server's child, and inside the
trainer. Never imported by the server.
"""
