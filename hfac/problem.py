"""A bi-level problem: dynamics, the lower reward r_x, and the upper objective f.

    f(x, pi) = h(x) + E_{s~d^pi, a~pi, s'~P}[ c(x, s, a, s') ] + g(x, pi)

Reward and cost are functions of ONE transition; the library vmaps them.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hfac.mdp import TabularMDP
from hfac.policies import SequencePolicy
from hfac.types import Key, PyTree, Transition, weighted_sum

TransitionFn = Callable[[PyTree, jax.Array, jax.Array, jax.Array], jax.Array]


class GridLayout(NamedTuple):
    """How to draw a problem whose states are cells of a grid."""

    shape: tuple[int, int]  # rows, columns
    moves: tuple[tuple[int, int], ...]  # [A] displacement (row, column) of each action
    marks: Mapping[str, tuple[int, ...]]  # label -> states, such as the landmark
    field: Callable[[Any], Any]  # x -> [S], what the leader sets in each cell
    field_label: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
    """A tabular bi-level problem ``min_x f(x, pi*(x))``.

    Args:
      mdp: the lower level's dynamics.
      reward: ``(x, s, a, s_next) -> []``, differentiable in x.
      init_x: ``key -> x``, start of the upper variable; draw it or ignore the key.
      h: ``x -> []``, the part of f that needs no policy.
      cost: ``(x, s, a, s_next) -> []``, running cost c, on f's own scale.
      g: ``(x, pi) -> []``, any differentiable function of the policy table [S, A].
      reward_grad: gradient of `reward` in x, dense or `Rows`; autodiff unless given.
      cost_grad: gradient of `cost` in x; autodiff unless given.
      reward_bound: bound of |r_x|, > 0: boxes the critics; without it they are not projected.
      cost_bound: bound of |c|, > 0, for the leader's critic.
      fixed_tau: the entropy weight that the problem is meant for, > 0, where f says little or nothing as tau -> 0:
        commands judge at it, and that limit is refused; other entropy weights are not.
      layout: how to draw the states, or None.
      name: for messages and titles.

    Raises:
      ValueError: if f has no part, a bound or fixed_tau is not positive, or a function does not return a finite
        scalar for the first x.
    """

    mdp: TabularMDP
    reward: TransitionFn
    init_x: Callable[[Key], PyTree]
    h: Callable[[PyTree], jax.Array] | None = None
    cost: TransitionFn | None = None
    g: Callable[[PyTree, jax.Array], jax.Array] | None = None
    reward_grad: Callable[..., PyTree] | None = None
    cost_grad: Callable[..., PyTree] | None = None
    reward_bound: float | None = None
    cost_bound: float | None = None
    fixed_tau: float | None = None
    layout: GridLayout | None = None
    name: str = "problem"

    def __post_init__(self) -> None:
        """Check the parts against each other before anything is compiled."""
        if not isinstance(self.mdp, TabularMDP):
            raise ValueError(f"mdp must be a TabularMDP, got {type(self.mdp).__name__}; see hfac.mdp.from_successors")
        if self.h is None and self.cost is None and self.g is None:
            raise ValueError("the upper objective is empty; give at least one of h, cost, g")
        for name in ("reward_bound", "cost_bound"):
            bound = getattr(self, name)
            if bound is not None and not (np.isfinite(bound) and bound > 0):
                raise ValueError(f"{name} must be positive and finite, got {bound}; use None for no bound")
        if self.fixed_tau is not None and not (np.isfinite(self.fixed_tau) and self.fixed_tau > 0):
            raise ValueError(f"fixed_tau must be positive and finite, got {self.fixed_tau}; use None for any tau")
        if not isinstance(jax.tree.leaves(self.mdp)[0], jax.core.Tracer):
            with jax.ensure_compile_time_eval():
                _check_functions(self)


def check_limit(problem: Problem) -> None:
    """Raise `ValueError` if f has no limit as tau -> 0."""
    if problem.fixed_tau is not None:
        raise ValueError(
            f"{problem.name} is not meant for tau -> 0 but for tau = {problem.fixed_tau:g}; judge it at a tau > 0"
        )


def _check_functions(problem: Problem) -> None:
    x = problem.init_x(jax.random.key(0))
    mdp = problem.mdp
    for leaf in jax.tree.leaves(x):
        if not jnp.issubdtype(jnp.asarray(leaf).dtype, jnp.floating):
            raise ValueError(f"init_x must return floating-point arrays, got {jnp.asarray(leaf).dtype}")
    values: dict[str, Any] = {"reward": transition_table(problem.reward, mdp, x, "reward")}
    if problem.cost is not None:
        values["cost"] = transition_table(problem.cost, mdp, x, "cost")
    if problem.h is not None:
        values["h"] = problem.h(x)
    if problem.g is not None:
        dtype = jnp.asarray(jax.tree.leaves(x)[0]).dtype
        values["g"] = problem.g(x, jnp.full((mdp.num_states, mdp.num_actions), 1 / mdp.num_actions, dtype))
    for name, value in values.items():
        if name in ("h", "g") and jnp.shape(value) != ():
            raise ValueError(f"{name} must return a scalar, got shape {jnp.shape(value)}")
        possible = np.asarray(mdp.probs) > 0 if name in ("reward", "cost") else np.asarray(True)
        if not np.all(np.isfinite(np.asarray(value)) | ~possible):
            raise ValueError(f"{name} must be finite for the first x, got {_first_bad(np.asarray(value), possible)}")


def _first_bad(value: np.ndarray, possible: np.ndarray) -> str:
    where = tuple(int(i) for i in np.argwhere(~np.isfinite(value) & possible)[0])
    return f"{value[where]}" + (f" at (state, action, successor) {where}" if where else "")


def transition_table(function: TransitionFn, mdp: TabularMDP, x: PyTree, name: str = "function") -> jax.Array:
    """Values of a transition function on every successor list entry, [S, A, K].

    Raises:
      ValueError: if the function does not return a scalar.
    """
    state, action, k = jnp.meshgrid(*(jnp.arange(n, dtype=jnp.int32) for n in mdp.next_states.shape), indexing="ij")
    next_state = jnp.asarray(mdp.next_states)[state, action, k]
    flat = jax.vmap(function, (None, 0, 0, 0))(x, state.ravel(), action.ravel(), next_state.ravel())
    if jnp.shape(flat) != (state.size,):
        raise ValueError(f"{name} must return a scalar for one transition, got shape {jnp.shape(flat)[1:]}")
    return flat.reshape(state.shape)


def on_batch(function: TransitionFn, x: PyTree, batch: Transition, dtype: Any) -> jax.Array:
    """Values of a transition function on a batch of transitions, [B]."""
    values = jax.vmap(function, (None, 0, 0, 0))(x, batch.state, batch.action, batch.next_state)
    return values.astype(dtype)


def weighted_grad(
    function: TransitionFn, grad: Callable[..., PyTree] | None, x: PyTree, batch: Transition, weights: jax.Array
) -> PyTree:
    """``sum_b weights[b] * grad_x function(x, s_b, a_b, s'_b)``: one backward pass, or the given gradient.

    Args:
      function: the transition function.
      grad: its gradient in x, dense or `Rows`, or None for autodiff.
      x: upper variable.
      batch: transitions [B]; their own weights are not used.
      weights: [B].
    """
    if grad is None:
        return jax.grad(lambda x: jnp.sum(weights * on_batch(function, x, batch, weights.dtype)))(x)
    each = jax.vmap(grad, (None, 0, 0, 0))(x, batch.state, batch.action, batch.next_state)
    return weighted_sum(weights, each)


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
