"""How and where a job is run. No number depends on it, but the last bits on how many runs stand side by side."""

import dataclasses
import os
import typing
from typing import Literal

from hfac import _checks
from hfac._errors import InputError, as_input_error
from hfac.runs._processes import ALONE, Processes

DETERMINISTIC = "--xla_gpu_deterministic_ops=true"


@dataclasses.dataclass(frozen=True)
class Execution:
    """What a machine is asked to do with a job."""

    block_width: int = 0  # runs side by side in one block of a device; 0 chooses
    checkpoint_minutes: float = 5.0  # longest time between checkpoints, > 0
    on_divergence: Literal["keep", "stop"] = "keep"  # when a run fails: keep the others going, or stop all
    share: tuple[int, int] = (1, 1)  # (I, N): only the I-th of N equal shares of the runs
    processes: Processes = ALONE
    figures: bool = False
    quiet: bool = False  # no progress and no notes on stderr

    def __post_init__(self) -> None:
        """Check every number.

        Raises:
          InputError: if one is out of range.
        """
        for field, hint in typing.get_type_hints(type(self)).items():
            value = getattr(self, field)
            if not _checks.fits(value, hint):
                raise InputError(f"{field} must be {_checks.words(hint)}, got {value!r}")
        with as_input_error():
            _checks.number("block_width", self.block_width, "be >= 0", 0)
            _checks.positive("checkpoint_minutes", self.checkpoint_minutes)
        mine, shares = self.share
        if not 1 <= mine <= shares:
            raise InputError(f"share must be (I, N) with 1 <= I <= N, got {self.share}")


def configure(devices: int = 0, cache: bool = True, x64: bool = True, deterministic: bool = False) -> None:
    """One CPU device per core, float64 for exact judging, compiled programs kept between processes.

    Call it before anything else uses jax.

    Args:
      devices: to use; 0 takes all.
      cache: keep compiled programs in the user's cache folder; one that is set stays.
      x64: whether arrays may be float64.
      deterministic: on a GPU, add up in a fixed order.

    Raises:
      InputError: if jax finds no device, or is in use already.
    """
    with as_input_error():
        _checks.number("devices", devices, "be a whole number >= 0", 0)
        given = {"devices": (devices, int), "cache": (cache, bool), "x64": (x64, bool)}
        for name, (value, hint) in (given | {"deterministic": (deterministic, bool)}).items():
            _checks.option(name, value, hint)
    if deterministic:
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {DETERMINISTIC}"
    import jax

    from hfac._compiler import random
    from hfac.engine import num_cores

    cores = num_cores()
    try:
        jax.config.update("jax_num_cpu_devices", min(devices, cores) if devices else cores)
    except RuntimeError:
        raise InputError("jax has computed something already; call hfac.runs.configure() before that") from None
    jax.config.update("jax_enable_x64", x64)
    jax.config.update("jax_disable_jit", False)  # a sweep is a compiled program
    jax.config.update("jax_default_prng_impl", random.GENERATOR)
    jax.config.update("jax_threefry_partitionable", True)
    if not cache:
        jax.config.update("jax_enable_compilation_cache", False)
    elif jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]
        home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
        jax.config.update("jax_compilation_cache_dir", os.path.join(home, "hfac"))
        if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
            jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    try:
        jax.devices()
    except (RuntimeError, AssertionError, ValueError) as error:
        wanted, why = os.environ.get("JAX_PLATFORMS", ""), " ".join(str(error).split())[:160]
        raise InputError(
            f"jax finds no device of JAX_PLATFORMS={wanted}{': ' if why else ''}{why}; unset it, or install jax for it"
        ) from None
