"""A bi-level problem over whole sequences: a policy writes, its reward is learned, a leader compares or scores."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.tree_util import Partial

from hfac._registry import load
from hfac.sequences.policies import SequencePolicy
from hfac.types import Key, PyTree, Shared

ARRAYS = ("reference", "anchors", "anchor_ratings")
FROZEN = (*ARRAYS, "reward", "rating", "cost", "pair_loss")  # fields that may hold large arrays


class EpisodicProblem(NamedTuple):
    """A bi-level problem over whole sequences, gamma = 1 and entropy relative to a reference policy.

    J_tau(x, pi) = E_pi[R_x(y)] - tau KL(pi | pi_ref),    f(x, pi) = h(x) + E_{y~pi}[c(x, y)] + E_{y,y'}[l(x, y, y')]

    with y' from pi too, or uniformly from `anchors` where there are any. Neither is normalised. All functions are of
    one sequence, int32 [L]; the library vmaps them. A rating is what is known of a sequence apart from x, any tree; it
    is computed once for each and handed to whoever compares.
    """

    policy: SequencePolicy
    reference: PyTree  # parameters of the reference policy
    reward: Callable[[PyTree, jax.Array], jax.Array]  # (x, y) -> [], R_x
    init_x: Callable[[Key], PyTree]
    h: Callable[[PyTree], jax.Array] | None = None  # x -> []
    rating: Callable[[jax.Array], PyTree] = lambda y: ()  # y -> rating
    cost: Callable[[PyTree, jax.Array, PyTree], jax.Array] | None = None  # (x, y, rating) -> [], c; minus a score
    pair_loss: Callable[..., jax.Array] | None = None  # (x, y, rating, y', rating') -> [], l
    anchors: jax.Array | None = None  # int32 [N, L], sequences to compare with
    anchor_ratings: PyTree | None = None  # leaves [N, ...]; computed unless given
    name: str = "sequences"  # for messages and titles

    @property
    def kind(self) -> str:
        """Of the lower level, one of `hfac.options.KINDS`."""
        return "sequences"

    @property
    def judge(self) -> Callable[..., Any]:
        """Says how x is judged at weights of the divergence, an `hfac.judging.Judge`: by importance weights."""
        return functools.partial(load("hfac.sequences.judging:judge"), self)

    @property
    def shared(self) -> Shared:
        """What is large: the reference policy, anchors with their ratings, arrays of each `jax.tree_util.Partial`."""
        found = {name: getattr(self, name) for name in FROZEN}
        if self.anchors is not None and self.anchor_ratings is None:
            found["anchor_ratings"] = jax.jit(jax.vmap(self.rating))(self.anchors)
        is_kept = {name: name in ARRAYS or isinstance(value, Partial) for name, value in found.items()}
        return Shared({name: value for name, value in found.items() if is_kept[name] and value is not None})

    def with_shared(self, tree: PyTree) -> "EpisodicProblem":
        """The same problem over other arrays in the place of those of `shared`."""
        return self._replace(**tree)

    @property
    def lower(self) -> Callable[..., Any]:
        """Builds the lower level, an `hfac.lower.Lower`; options are those of `hfac.sequences.lower`."""
        return functools.partial(load("hfac.sequences.lower:lower"), self)
