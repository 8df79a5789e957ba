"""Steps whose completions are rated on the host: drawn in one compiled program, rated, moved in another."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hfac.language.sampling import Rated, UnratedError
from hfac.types import Algorithm, Host, Key, PyTree, Status, core, with_core


class Asked(NamedTuple):
    """What the host is asked to rate; NumPy leaves [R, ...] once it comes there."""

    step: Any  # int32 [], of the run
    is_healthy: Any  # bool []; what a run wrote that has failed is not rated
    prompt: Any  # int32 [G]
    tokens: Any  # int32 [policies, G, N, T]


Rate = Callable[[Asked, np.ndarray], np.ndarray]  # (asked of all runs, their keys uint32 [R, 2]) -> [R, policies, G, N]


def hosted(algorithm: Algorithm, rate: Rate) -> Algorithm:
    """The same method, its steps in two parts with a rater between them.

    Args:
      algorithm: on completions that are not rated inside the step, whose step draws once.
      rate: gives a finite score to every completion of every run.
    """

    def draw(key: Key, state: Any, schedules: Any) -> tuple[Asked, PyTree]:
        try:
            algorithm.step(key, state, schedules)
        except UnratedError as found:
            written = found.written
        inner = core(state)
        tokens = jnp.stack([each.tokens for each in written])
        return Asked(inner.step, inner.status == Status.OK, written[0].prompt, tokens), written

    def step(key: Key, state: Any, schedules: Any, written: PyTree, scores: jax.Array) -> tuple[Any, Any]:
        inner = core(state)
        rated = Rated(inner.chains, written, tuple(scores[i] for i in range(len(written))))
        return algorithm.step(key, with_core(state, inner._replace(chains=rated)), schedules)

    def like(asked: Asked) -> Any:
        return jax.ShapeDtypeStruct(asked.tokens.shape[:-1], jnp.float32)

    return algorithm._replace(host=Host(draw, rate, like, step))
