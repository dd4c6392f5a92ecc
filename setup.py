"""The native kernel, the only part of Fairlead that is compiled; all else is in pyproject.toml.

It is optional: without a C compiler the installation succeeds, says so, and models are served by scikit-learn.
"""

from setuptools import Extension, setup

LIMITED_API = "0x030B0000"  # Python 3.11: one binary for all later versions

setup(
    ext_modules=[
        Extension(
            "fairlead_service.native.forest",
            ["service/fairlead_service/native/forest.c"],
            depends=["service/fairlead_service/native/walk.h"],
            define_macros=[("Py_LIMITED_API", LIMITED_API)],
            # a * b + c stays two roundings; nothing depends on the machine that builds.
            extra_compile_args=["-O3", "-std=c11", "-ffp-contract=off"],
            libraries=["m"],
            py_limited_api=True,
            optional=True,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
