"""Compiles fitted scikit-learn models to programs, the form that the native backend evaluates.

Only what can be repeated bit for bit is compiled; everything else is `NotCompiled`, with the reason, and is served by
scikit-learn itself. Types are compared exactly: a subclass may predict in another way than its parent.

To teach it a type: write `compile_…(estimator, names)` that puts its arrays into `names`, and list it in `_ESTIMATORS`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from fairlead_service.loading.compile import trees
from fairlead_service.loading.compile.result import Compiled, CompiledEstimator, Names, NotCompiled
from fairlead_service.models.backends.native.program import Program

__all__ = ["Compiled", "CompiledEstimator", "Names", "NotCompiled", "compile_estimator", "compile_model"]

_ESTIMATORS: Mapping[type, Callable[[Any, Names], CompiledEstimator | NotCompiled]] = {**trees.COMPILERS}


def compile_model(estimator: Any) -> Compiled | NotCompiled:
    """Compiles a fitted estimator."""
    names = Names()
    last = compile_estimator(estimator, names)
    if isinstance(last, NotCompiled):
        return last
    return Compiled(Program(estimator=last.estimator, output=last.output), names.arrays)


def compile_estimator(estimator: Any, names: Names) -> CompiledEstimator | NotCompiled:
    """Compiles a fitted final estimator (of a pipeline, or alone), putting its arrays into `names`."""
    compiler = _ESTIMATORS.get(type(estimator))
    if compiler is None:
        kind = type(estimator)
        return NotCompiled(f"{kind.__module__}.{kind.__qualname__} is not an estimator that the compiler knows")
    return compiler(estimator, names)
