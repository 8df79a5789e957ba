"""One script per figure or table: a frozen dataclass of settings, tyro, and a main."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # the compiler's own lines, as in `hfac`; before jax is imported
