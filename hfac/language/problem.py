"""A bi-level problem over completions of prompts: a policy writes, its reward is learned, a leader compares or scores.

    J_tau(x, pi) = E_p E_pi[ R_x(y) - tau KL(pi | pi_ref)(y) ],    f(x, pi) = h(x) + E_p E_pi[ ... ]

with the prompt p uniform and, inside the last expectation, minus a rater's score of y, or the expected log-loss of R_x
on a preference between y and another completion of the same prompt: of the policy, or of a fixed set of anchors.
"""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from hfac._registry import load
from hfac.sequences.episodes import preference_loss
from hfac.types import Algorithm, Key, PyTree, Shared


class Written(NamedTuple):
    """Completions of some prompts, and what the policy kept to read them again."""

    prompt: jax.Array  # int32 [G], which
    tokens: jax.Array  # int32 [G, N, T]
    is_written: jax.Array  # bool [G, N, T], all up to the first end, and that
    memory: PyTree  # leaves [G, N, ...]


class Said(NamedTuple):
    """A policy along completions; zero after their ends."""

    log_prob: jax.Array  # [G, N, T], log pi of the chosen token
    divergence: jax.Array  # [G, N, T], KL(pi | pi_ref) of the next token, summed over the vocabulary


class CompletionPolicy(Protocol):
    """Completes prompts token by token; `hfac.language.policies` holds two."""

    @property
    def num_prompts(self) -> int:
        """How many prompts there are."""

    @property
    def reference(self) -> PyTree:
        """Parameters of the reference policy, where every policy begins."""

    @property
    def arrays(self) -> PyTree:
        """What is large and frozen."""

    def over(self, arrays: PyTree) -> "CompletionPolicy":
        """The same policy over other arrays in their place."""

    def write(self, key: Key, theta: PyTree, prompt: jax.Array, members: int) -> Written:
        """So many completions of each prompt, int32 [G]."""

    def say(self, theta: PyTree, written: Written) -> Said:
        """What the policy says along completions."""


class Anchors(NamedTuple):
    """Fixed completions of every prompt that others are compared with."""

    features: PyTree  # leaves [P, K, ...]
    score: jax.Array  # [P, K]


class CompletionProblem(NamedTuple):
    """A bi-level problem over completions; functions are of whole batches.

    A preference is P(y is preferred to y') = sigmoid(slope (score - score')), and f takes its expected log-loss under
    P_x = sigmoid(R_x(y) - R_x(y')).
    """

    policy: Any  # a `CompletionPolicy`
    features: Callable[[Written], PyTree]  # leaves [G, N, ...], what R_x sees
    reward: Callable[[PyTree, PyTree], jax.Array]  # (x, features [..., ...]) -> [...], R_x; `over` gives it a policy
    init_x: Callable[[Key], PyTree]
    rate: Callable[[Written], jax.Array] | None = None  # [G, N], inside a step
    host_rate: Callable[..., Any] | None = None  # in its place, between two parts of a step; `hfac.language.hosting`
    leader: Literal["preference", "score"] = "preference"
    anchors: Anchors | None = None  # None compares completions of the policy among themselves
    slope: float = 1.0  # log-odds of a preference per unit of score
    h: Callable[[PyTree], jax.Array] | None = None  # x -> []
    name: str = "completions"

    @property
    def kind(self) -> str:
        """Of the lower level, one of `hfac.options.KINDS`."""
        return "language"

    @property
    def is_long(self) -> bool:
        """A step is a long program."""
        return True

    @property
    def shared(self) -> Shared:
        """What is large: the policy's base, its prompts, and anchors."""
        return Shared({"policy": self.policy.arrays, "anchors": self.anchors})

    def with_shared(self, tree: PyTree) -> "CompletionProblem":
        """The same problem over other arrays in the place of those of `shared`."""
        policy = self.policy.over(tree["policy"])
        reward = self.reward.over(policy) if hasattr(self.reward, "over") else self.reward
        return self._replace(policy=policy, reward=reward, anchors=tree["anchors"])

    @property
    def lower(self) -> Callable[..., Any]:
        """Builds the lower level, an `hfac.lower.Lower`; options are those of `hfac.language.lower`."""
        return functools.partial(load("hfac.language.lower:lower"), self)

    def finish(
        self, algorithm: Algorithm, *, epochs: int = 1, max_kl: float | None = None, **options: Any
    ) -> Algorithm:
        """A method built with these options: so many passes a draw, divergence below a bound, rated by the host."""
        del options
        if epochs > 1:
            algorithm = load("hfac.epochs:repeated")(algorithm, epochs)
        if max_kl is not None:
            algorithm = load("hfac.language.kl_control:controlled")(algorithm, max_kl)
        return algorithm if self.rate is not None else load("hfac.language.hosting:hosted")(algorithm, self.host_rate)


def pair_losses(problem: CompletionProblem, x: PyTree, prompt: jax.Array, features: PyTree, score: jax.Array) -> Any:
    """Log-losses of every completion beside every partner of its prompt, [G, N, K]; symmetric without anchors."""
    own = problem.reward(x, features)
    if problem.anchors is None:
        other, other_score = own, score
    else:
        fixed = jax.tree.map(lambda leaf, like: leaf[prompt].astype(like.dtype), problem.anchors.features, features)
        other = problem.reward(x, fixed)
        other_score = problem.anchors.score[prompt].astype(score.dtype)
    preferred = jax.nn.sigmoid(jnp.asarray(problem.slope, score.dtype) * (score[:, :, None] - other_score[:, None]))
    return preference_loss(own[:, :, None] - other[:, None], preferred)
