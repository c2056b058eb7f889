"""The one part that is compiled, where a compiler is; without it the same numbers come from numpy, more slowly."""

import sys

from setuptools import Extension, setup

# Every product and every sum is rounded by itself, as numpy does it: scores are equal to the bit.
FLAGS = [] if sys.platform == "win32" else ["-O3", "-ffp-contract=off", "-std=c11"]

setup(
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
    ext_modules=[
        Extension(
            "models._kernel",
            ["models/_kernel.c"],
            extra_compile_args=FLAGS,
            py_limited_api=True,
            optional=True,
        )
    ],
)
