"""How tests compile: hundreds of small programs, each run once, so that compiling is most of the work."""

import gc

import jaxlib

# no optimisation, and none of the emitters that jaxlib 0.10 makes code with two to three times as slowly
OLDER = " --xla_cpu_use_fusion_emitters=false" if jaxlib.version.__version_info__ < (0, 11) else ""
FLAGS = f"--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1{OLDER}"


def collect_less() -> None:
    """Leave what stays alive to itself: tracing makes millions of objects, and few cycles."""
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)
