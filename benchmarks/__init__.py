"""Throughput, scaling and compile times; a C reference of the same step."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # the compiler's own lines, as in `hfac`; before jax is imported
