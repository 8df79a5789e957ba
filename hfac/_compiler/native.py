"""Loops as native code: on CPUs the steps of a run become one function instead of some seventy kernels a step.

jaxlib 0.10 compiles a call that is marked as small into a single function, with the emitters that can nest loops.
jaxlib 0.12 does not take the options, and there the ordinary program is used, of which the compiler itself makes one
function where the loop is small and holds no scatter. So it is wherever a step holds something that cannot be nested,
such as a factorisation, and where large matrix products take the time: nothing is gained there, and compiling takes
three times as long. A long program, such as a small neural network's, would compile for minutes.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.xla_metadata import set_xla_metadata

OPTIONS: dict[str, str | bool] = {
    "xla_cpu_use_fusion_emitters": False,  # the other emitters nest
    "xla_cpu_experimental_ynn_fusion_type": "",  # calls into a library do not
    "xla_cpu_prefer_vector_width": "512",
}
_MARKS = {"xla_cpu_small_call": "true", "inlineable": "false"}


@functools.cache
def is_known() -> bool:
    """Whether this compiler takes the options."""
    try:
        jax.jit(lambda x: x + 1).lower(jnp.zeros(())).compile(compiler_options=OPTIONS)
    except jax.errors.JaxRuntimeError:
        return False
    return True


def as_one_function(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, marked; its program must be compiled with `OPTIONS`."""

    @jax.jit
    def unmarked_inside(*args: Any) -> Any:
        with set_xla_metadata(**dict.fromkeys(_MARKS)):
            return function(*args)

    def marked(*args: Any) -> Any:
        with set_xla_metadata(**_MARKS):
            return unmarked_inside(*args)

    return marked
