"""Serves compiled models: flat arrays, memory-mapped, evaluated bit for bit as scikit-learn evaluates the estimator."""
