"""Coverage-guided fuzzing of every decoder of what clients send, by atheris. CONTRIBUTING.md says how to run it."""

import sys

import atheris  # type: ignore[import-not-found]  # not in the development environment

with atheris.instrument_imports(include=["fairlead_service"]):
    from tests.fuzz.targets import one

if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
