"""Hypothesis for this directory: no time limit an example, which on a busy machine would be a limit on the machine."""

from hypothesis import settings

settings.register_profile("operator", deadline=None)
settings.load_profile("operator")
