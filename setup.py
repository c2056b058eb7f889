"""The parts that are compiled, where a compiler is; without them the same numbers come from numpy, more slowly."""

import sys

from setuptools import Extension, setup

# Every product and every sum is rounded by itself, as numpy does it: scores are equal to the bit.
FLAGS = [] if sys.platform == "win32" else ["-O3", "-ffp-contract=off", "-std=c11"]

setup(
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
    ext_modules=[
        Extension(
            name,
            sources,
            depends=["models/_buffers.h", "models/_kernel.h"],
            extra_compile_args=FLAGS,
            py_limited_api=True,
            optional=True,
        )
        for name, sources in (
            ("features._rows", ["features/_rows.c"]),
            ("models._kernel", ["models/_kernel.c", "models/_cross.c", "models/_linear.c"]),
            ("models._reasons", ["models/_reasons.c"]),
            ("models._week", ["models/_week.c"]),
            ("service.decisions._weigh", ["service/decisions/_weigh.c"]),
        )
    ],
)
