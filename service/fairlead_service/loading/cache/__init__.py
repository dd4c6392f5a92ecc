"""Bundles kept outside a pod, so that pods start while MLflow is down and many of them download once.

`question` says which entry answers a load, `entry` how a bundle is one sealed blob, `directory` and `shared` (Redis)
keep blobs, `loads` is what the loader calls. docs/cache.md says what is trusted and why.
"""
