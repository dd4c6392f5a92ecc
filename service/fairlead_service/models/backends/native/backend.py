"""Serves a compiled model: no model library, one call of the kernel a request."""

from collections.abc import Callable, Sequence

from fairlead_service import native
from fairlead_service.models.backends import Matrix, Outputs, Want
from fairlead_service.models.backends.native import program
from fairlead_service.models.backends.native.program import ARRAYS_FILE, PROGRAM_FILE, Trees
from fairlead_service.models.bundle import Bundle


class NativeBackend:
    name = "native"

    def __init__(self, bundle: Bundle) -> None:
        """Raises ProgramError or BundleError for a bundle that holds no whole program, NativeUnavailableError if the
        kernel was not built."""
        native.require()
        # They import the kernel.
        from fairlead_service.models.backends.native.linear import build_linear
        from fairlead_service.models.backends.native.outputs import build_output
        from fairlead_service.models.backends.native.transforms import build_steps
        from fairlead_service.models.backends.native.trees import build_trees

        for name in (PROGRAM_FILE, ARRAYS_FILE):
            bundle.path(name)
        compiled, arrays = program.read(bundle.directory)
        manifest = bundle.manifest
        width = manifest.n_features if manifest.placement is None else manifest.placement.width
        steps, n_features = build_steps(compiled.steps, arrays, width)
        record = compiled.estimator
        self._steps = steps if compiled.steps else None
        self._estimator: Callable[[Matrix, Sequence[int]], Matrix]
        if isinstance(record, Trees):
            trees = build_trees(record, arrays, n_features)
            self._estimator = lambda matrix, ends: trees(matrix)  # row by row
        else:
            self._estimator = build_linear(record, arrays, n_features)
        self._output = build_output(compiled.output, record.width, manifest.classes)

    def evaluate(self, matrix: Matrix, want: Want, ends: Sequence[int] = ()) -> Outputs:
        if self._steps is not None:
            matrix = self._steps(matrix)
        return self._output(self._estimator(matrix, ends), want)
