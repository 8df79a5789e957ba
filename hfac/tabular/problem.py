"""A bi-level problem: dynamics, the lower reward r_x, and the upper objective f.

    f(x, pi) = h(x) + E_{s~d^pi, a~pi, s'~P}[ c(x, s, a, s') ] + g(x, pi)

Reward and cost are functions of ONE transition; the library vmaps them.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hfac import _checks
from hfac._compiler import random
from hfac._compiler.jaxpr import is_tracing
from hfac._registry import load
from hfac.tabular.mdp import TabularMDP, within_reach
from hfac.types import Key, PyTree, Rows, Transition, map_values, weighted_sum

TransitionFn = Callable[[PyTree, jax.Array, jax.Array, jax.Array], jax.Array]

ROUNDING = 1e-5  # by which a value may be above its bound


class GridLayout(NamedTuple):
    """How to draw a problem whose states are cells of a grid."""

    shape: tuple[int, int]  # rows, columns
    moves: tuple[tuple[int, int], ...]  # [A] displacement (row, column) of each action
    marks: Mapping[str, tuple[int, ...]]  # label -> states, such as the landmark
    field: Callable[[Any], Any]  # x -> [S], what the leader sets in each cell
    field_label: str
    cells: Any = None  # int [S], where each state lies, row * columns + column; states in this order unless given

    def on_cells(self, values: Any) -> np.ndarray:
        """Values of the states [S, ...] where they lie, nan where none does. [rows, columns, ...]."""
        values = np.asarray(values, float)
        found = np.full((self.shape[0] * self.shape[1], *values.shape[1:]), np.nan)
        found[self._cells] = values
        return found.reshape(*self.shape, *values.shape[1:])

    def places(self, states: Any) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of some states."""
        return np.divmod(self._cells[np.asarray(states)], self.shape[1])

    @property
    def _cells(self) -> np.ndarray:
        return np.arange(self.shape[0] * self.shape[1]) if self.cells is None else np.asarray(self.cells)


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
      coordinates: [S, d] in [-1, 1], what a network sees of a state; a grid's cells unless given.
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
    coordinates: Any = None
    name: str = "problem"
    kind: ClassVar[str] = "tabular"  # of the lower level, one of `hfac.options.KINDS`

    def __post_init__(self) -> None:
        """Check the parts against each other before anything is compiled."""
        if not isinstance(self.mdp, TabularMDP):
            raise ValueError(f"mdp must be a TabularMDP, got {type(self.mdp).__name__}; see hfac.mdp.from_successors")
        if self.h is None and self.cost is None and self.g is None:
            raise ValueError("the upper objective is empty; give at least one of h, cost, g")
        for name, meaning in (("reward_bound", "no bound"), ("cost_bound", "no bound"), ("fixed_tau", "any tau")):
            bound = getattr(self, name)
            if bound is not None:
                rule = "be positive and finite"
                _checks.number(name, bound, rule, 0, strict=True, remedy=f"use None for {meaning}")
        if self.layout is not None and len(self.layout.shape) != 2:
            raise ValueError(f"layout.shape must be (rows, columns), got {self.layout.shape}")
        _check_cells(self)
        if self.coordinates is not None and np.shape(self.coordinates)[:1] != (self.mdp.num_states,):
            raise ValueError(f"coordinates must be [S, d], got {np.shape(self.coordinates)} for {self.mdp.num_states}")
        _check_signatures(self)
        _check_functions(self)

    @property
    def lower(self) -> Callable[..., Any]:
        """Builds the lower level, an `hfac.lower.Lower`; options are those of `hfac.tabular.lower`."""
        return functools.partial(load("hfac.tabular.lower:lower"), self)

    @property
    def judge(self) -> Callable[..., Any]:
        """Says how x is judged at entropy weights, an `hfac.judging.Judge`: exactly."""
        return functools.partial(load("hfac.metrics:judge"), self)

    def first_x(self, key: Key) -> PyTree:
        """What `init_x` returns, as device arrays."""
        return jax.tree.map(jnp.asarray, self.init_x(key))


def check_limit(problem: Problem) -> None:
    """Raise `ValueError` if f has no limit as tau -> 0."""
    if problem.fixed_tau is not None:
        raise ValueError(
            f"{problem.name} is not meant for tau -> 0 but for tau = {problem.fixed_tau:g}; judge it at a tau > 0"
        )


def as_float(function: Callable[..., Any]) -> Callable[..., jax.Array]:
    """The same function of (x) or (x, pi), its value, a number of any type, as a float of the last argument's dtype."""
    return lambda *inputs: jnp.asarray(function(*inputs), _dtype_of(inputs[-1]))


def _check_functions(problem: Problem) -> None:
    """Raise `ValueError` unless every function takes what it is given and returns finite scalars for the first x.

    Inside `jit`, `grad` and `vmap` values may be traced; then only their shapes are known.
    """
    key, mdp = random.key(0), problem.mdp
    with _checks.explained("init_x"):
        jax.eval_shape(problem.init_x, key)
    with jax.ensure_compile_time_eval() if is_tracing() else contextlib.nullcontext():
        x = problem.init_x(key)
        for leaf in jax.tree.leaves(x):
            dtype = getattr(leaf, "dtype", np.asarray(leaf).dtype if isinstance(leaf, int | float) else type(leaf))
            if not (isinstance(dtype, np.dtype) and jnp.issubdtype(dtype, jnp.floating)):
                raise ValueError(f"init_x must return floating-point arrays, got {dtype}")
        x = jax.tree.map(jnp.asarray, x)
        pi = jnp.full((mdp.num_states, mdp.num_actions), 1 / mdp.num_actions, _dtype_of(x))
        evaluations: dict[str, Callable[[PyTree], jax.Array]] = {}
        for name, inputs in {"reward": None, "cost": None, "h": (x,), "g": (x, pi)}.items():
            function = getattr(problem, name)
            if function is None:
                continue
            index = jax.ShapeDtypeStruct((), jnp.int32)
            with _checks.explained(name):
                shape = jax.eval_shape(function, *((x, index, index, index) if inputs is None else inputs))
            _check_scalar(name, shape, "for one transition, " if inputs is None else "")

            def evaluate(x: PyTree, function: Any = function, inputs: Any = inputs, name: str = name) -> jax.Array:
                if inputs is not None:
                    return jnp.asarray(function(x, *inputs[1:]), float)
                return transition_table(function, within_reach(mdp), x, name).astype(float)

            evaluations[name] = evaluate
            own_grad = getattr(problem, f"{name}_grad", None)
            if own_grad is not None:
                _check_gradient(f"{name}_grad", own_grad, x)
        _check_finite(problem, evaluations, x)


def _check_gradient(name: str, function: Any, x: PyTree) -> None:
    """Raise `ValueError` unless a given gradient has the structure and shapes of x, or says which `Rows` it touches."""
    index = jax.ShapeDtypeStruct((), jnp.int32)

    def evaluate(x: PyTree, s: jax.Array, a: jax.Array, n: jax.Array) -> PyTree:
        return jax.tree.map(jnp.asarray, function(x, s, a, n), is_leaf=lambda node: isinstance(node, list))

    with _checks.explained(name):
        found = jax.eval_shape(evaluate, x, index, index, index)
    parts = zip(jax.tree.leaves(x), jax.tree.leaves(found, is_leaf=lambda node: isinstance(node, Rows)), strict=False)
    is_like: bool = jax.tree.structure(x) == jax.tree.structure(found, is_leaf=lambda node: isinstance(node, Rows))  # type: ignore[operator]
    if not is_like or any(not isinstance(b, Rows) and a.shape != b.shape for a, b in parts):
        raise ValueError(
            f"{name} must return a gradient like x, {jax.tree.map(lambda leaf: leaf.shape, x)}, or hfac.Rows; got "
            f"{jax.tree.map(lambda leaf: leaf.shape, found)}"
        )


def _dtype_of(x: PyTree) -> Any:
    """Floating dtype of a tree; the default one of a tree without leaves."""
    leaves = jax.tree.leaves(x)
    return jnp.result_type(leaves[0]) if leaves else jnp.result_type(float)


def _check_cells(problem: Problem) -> None:
    """Raise `ValueError` unless every state lies in a cell of its own, where a layout says where they lie."""
    if problem.layout is None or problem.layout.cells is None:
        return
    cells, size = np.asarray(problem.layout.cells), problem.layout.shape[0] * problem.layout.shape[1]
    count = problem.mdp.num_states
    is_whole = cells.shape == (count,) and cells.dtype.kind in "iu"
    if not is_whole or len(np.unique(cells)) != count or cells.min() < 0 or cells.max() >= size:
        raise ValueError(f"layout.cells must be {count} different whole numbers in [0, {size}), got {cells}")


def _check_signatures(problem: Problem) -> None:
    takes = {"init_x": "key", "reward": "x, s, a, s_next", "cost": "x, s, a, s_next", "h": "x", "g": "x, pi"}
    takes |= {"reward_grad": takes["reward"], "cost_grad": takes["cost"]}
    _checks.functions(problem, takes, optional=takes.keys() - {"init_x", "reward"})


def _check_scalar(name: str, shape: Any, of: str) -> None:
    if not isinstance(shape, jax.ShapeDtypeStruct) or shape.shape != ():
        got = f"shape {shape.shape}" if isinstance(shape, jax.ShapeDtypeStruct) else type(shape).__name__
        raise ValueError(f"{name} must return a scalar {of}got {got}".replace("scalar got", "scalar, got"))
    if jnp.issubdtype(shape.dtype, jnp.complexfloating):
        raise ValueError(f"{name} must return a real number, got {shape.dtype}")


def _check_finite(problem: Problem, evaluations: Mapping[str, Callable[[PyTree], jax.Array]], x: PyTree) -> None:
    """Raise `ValueError` unless the values for the first x, and derivatives taken, are finite where they can happen."""

    @jax.jit
    def found(x: PyTree) -> dict[str, tuple[jax.Array, list[jax.Array]]]:
        values = {}
        for name, evaluate in evaluations.items():
            value, pull = jax.vjp(evaluate, x)
            slopes = jax.tree.leaves(pull(jnp.ones_like(value))[0])
            values[name] = (value, [jnp.all(jnp.isfinite(leaf)) for leaf in slopes])
        return values

    judged = found(x)
    if _checks.is_traced((judged, problem.mdp)):
        return
    for name, (value, slopes) in jax.device_get(judged).items():
        is_table = name in ("reward", "cost")
        possible = np.asarray(problem.mdp.probs) > 0 if is_table else np.ones(value.shape, bool)
        if not np.all(np.isfinite(value) | ~possible):
            raise ValueError(f"{name} must be finite for the first x, got {_first_bad(value, possible)}")
        bound, largest = getattr(problem, f"{name}_bound", None), np.abs(value[possible]).max(initial=0)
        if bound is not None and largest > bound * (1 + ROUNDING):
            raise ValueError(
                f"{name}_bound must be at least the largest |{name}|, which is {largest:.6g} for the first x, got "
                f"{bound:g}; use None for no bound"
            )
        if getattr(problem, f"{name}_grad", None) is None and not all(slopes):
            raise ValueError(
                f"the derivative of {name} in x must be finite for the first x, as its value is: jnp.sqrt, "
                "jnp.linalg.norm and jnp.log at 0 do that, and divisions by 0 behind a jnp.where; guard their argument "
                "too"
            )


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
    return weighted_sum(weights, map_values(lambda values: jnp.asarray(values, weights.dtype), each))
