"""What a policy writes when nothing is learned from it: fresh completions, how far they are, what a reward says."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hfac._compiler import random
from hfac.language import completing
from hfac.types import PyTree

if TYPE_CHECKING:
    from hfac.language.finetuning import Finetuning


class Fresh(NamedTuple):
    """Completions of all prompts."""

    texts: list[list[str]]  # by prompt
    divergence: np.ndarray  # of each from the reference, nats [P, N]
    reward: np.ndarray  # R_x of each [P, N]


def fresh(
    setup: "Finetuning",
    theta: PyTree,
    x: PyTree,
    samples: int,
    seed: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Fresh:
    """Completions of a policy; those of two policies come from the same random numbers.

    Args:
      setup: with the prompts.
      theta: of the policy.
      x: of the reward.
      samples: of every prompt.
      seed: of the random numbers.
      progress: called with (completions done, in all).
    """
    problem, prompts = setup.problem, len(setup.prompts)

    @jax.jit
    def write(shared: PyTree, key: jax.Array, theta: PyTree, x: PyTree, prompt: jax.Array) -> tuple[jax.Array, ...]:
        own = problem.with_shared(shared)
        written = own.policy.write(key, theta, prompt, samples)
        divergence = jnp.sum(own.policy.say(theta, written).divergence, -1)
        return written.tokens, divergence, own.reward(x, own.features(written))

    size = min(max(completing.SIDE_BY_SIDE // samples, 1), prompts)
    shared = problem.shared.tree
    parts = []
    for start in range(0, prompts, size):
        rows = np.resize(np.arange(start, min(start + size, prompts)), size)  # the last batch repeats some
        found = write(shared, random.fold_in(random.key(seed), start), theta, x, jnp.asarray(rows, jnp.int32))
        parts.append([np.asarray(each)[: prompts - start] for each in found])
        progress(min(start + size, prompts) * samples, prompts * samples)
    tokens, divergence, reward = (np.concatenate(each) for each in zip(*parts, strict=True))
    return Fresh([[setup.tokenizer.decode(ids) for ids in each] for each in tokens], divergence, reward)
