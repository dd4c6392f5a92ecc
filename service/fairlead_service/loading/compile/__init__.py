"""Compiles fitted scikit-learn models to programs, the form that the native backend evaluates.

Only what can be repeated bit for bit is compiled; everything else is `NotCompiled`, with the reason, and is served by
scikit-learn itself. Types are compared exactly: a subclass may predict in another way than its parent.

To teach it a type: write `compile_…(estimator, names)` that puts its arrays into `names`, and list it in `_ESTIMATORS`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from fairlead_service.loading.compile import linear, trees
from fairlead_service.loading.compile.pipeline import compile_whole
from fairlead_service.loading.compile.result import Compiled, CompiledEstimator, Names, NotCompiled

__all__ = ["Compiled", "CompiledEstimator", "Names", "NotCompiled", "compile_estimator", "compile_model"]

_ESTIMATORS: Mapping[type, Callable[[Any, Names], CompiledEstimator | NotCompiled]] = {
    **linear.COMPILERS,
    **trees.COMPILERS,
}


def compile_model(estimator: Any) -> Compiled | NotCompiled:
    """Compiles a fitted estimator, or a pipeline of transformers and one."""
    return compile_whole(estimator, Names(), compile_estimator)


def compile_estimator(estimator: Any, names: Names) -> CompiledEstimator | NotCompiled:
    """Compiles a fitted final estimator (of a pipeline, or alone), putting its arrays into `names`."""
    compiler = _ESTIMATORS.get(type(estimator))
    if compiler is None:
        kind = type(estimator)
        return NotCompiled(f"{kind.__module__}.{kind.__qualname__} is not an estimator that the compiler knows")
    return compiler(estimator, names)
