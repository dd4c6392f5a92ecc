"""The compiled kernel, `forest`, is optional: an installation without a C compiler serves by scikit-learn alone.

Called by `models.backends.native`; `forest.pyi` says what the kernel does.
"""

from functools import cache
from importlib.util import find_spec


class NativeUnavailableError(Exception):
    """The kernel is wanted and was not built; the message says what to do."""


@cache
def available() -> bool:
    """Whether the kernel was built when this package was installed."""
    return find_spec("fairlead_service.native.forest") is not None


def require() -> None:
    """Raises NativeUnavailableError if the kernel was not built."""
    if not available():
        raise NativeUnavailableError(
            "the native kernel is not installed: install Fairlead with a C compiler at hand, or load the model for the "
            "sklearn backend"
        )
