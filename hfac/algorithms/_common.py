"""What every method shares: moving its variables, freezing a diverged run, averaging the end of a run."""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from hfac import _checks, options
from hfac._compiler.reduce import sum_all
from hfac.lower import Lower
from hfac.schedules import PowerDecay, Schedules
from hfac.tabular.problem import Problem
from hfac.types import (
    Algorithm,
    InitFn,
    Key,
    PyTree,
    Solution,
    Status,
    Transition,
    apply_updates,
    cast,
    densify,
    map_values,
    start_from,
)

DIVERGENCE_BOUND = 1e6  # no update of a healthy run is this long
AVERAGING_STRIDE = 64  # x moves little in 64 steps; sparser averages keep float32 increments above rounding


def init_optimizers(optimizers: Mapping[str, optax.GradientTransformation], variables: Mapping[str, PyTree]) -> dict:
    """First optimiser state of every variable that has one.

    Raises:
      ValueError: if an optimiser is named for no variable.
    """
    present = [name for name, variable in variables.items() if variable is not None]
    for name in optimizers:
        if name not in present:
            raise ValueError(f"optimizers has no variable '{name}'; variables are {', '.join(present)}")
    with jax.numpy_dtype_promotion("standard"):
        return {name: optimizer.init(variables[name]) for name, optimizer in optimizers.items()}


def first_counters() -> dict[str, jax.Array]:
    """First `step`, `status` and `failed_at` of every state."""
    return {"step": jnp.int32(0), "status": jnp.int32(Status.OK), "failed_at": jnp.int32(-1)}


def see(lower: Lower, schedules: Schedules, thetas: Sequence[PyTree], batches: Sequence[Any]) -> list[Any]:
    """What every policy says along its own batch."""
    return [lower.see(theta, batch, schedules.options) for theta, batch in zip(thetas, batches, strict=True)]


def watched(moved: Any, before: Any, lower: Lower, seen: Any) -> Any:
    """The moved state with what the kind watches brought up to date; a fault that it finds is latched."""
    vitals, status = lower.watch(before.vitals, seen)
    if status is None:
        return moved
    is_new = (status != Status.OK) & (moved.status == Status.OK)
    return moved._replace(
        vitals=vitals,
        status=jnp.where(is_new, status, moved.status),
        failed_at=jnp.where(is_new, before.step, moved.failed_at),
    )


class Planned(NamedTuple):
    """State of a method that plans with the model."""

    step: jax.Array  # int32 [], k
    status: jax.Array  # int32 [], latched Status
    failed_at: jax.Array  # int32 [], step of the first fault, or -1
    x: PyTree  # upper variable
    theta: jax.Array  # logits of the policy that answers it [S, A]
    memory: dict[str, PyTree]  # whatever else the method carries from step to step, by name
    optimizers: dict  # "x" -> optax state, if there is an optimiser


class PlannedInfo(NamedTuple):
    """What is worth looking at in a planner's step."""

    num_samples: jax.Array  # int32 [], always 0: the method plans
    hyper_objective: jax.Array  # [], f at the last x and its policy


def planned(
    problem: Problem, memory: Mapping[str, PyTree], optimizers: Mapping[str, optax.GradientTransformation], dtype: Any
) -> InitFn:
    """The `init` of a planner: the problem's x, uniform policy.

    Raises:
      ValueError: when called, if an optimiser is named for another variable than x.
    """

    def init(key: Key, schedules: Schedules) -> Planned:
        del schedules
        x = cast(problem.init_x(jax.random.fold_in(key, 0)), dtype)
        theta = jnp.zeros(problem.mdp.next_states.shape[:2], dtype)
        moments = init_optimizers(optimizers, {"x": x})
        return Planned(**first_counters(), x=x, theta=theta, memory=dict(memory), optimizers=moments)

    return init


def keep_if_healthy(moved: Any, before: Any, **new: PyTree) -> Any:
    """The moved state with further fields replaced; a run that has failed keeps those it had before."""
    is_healthy = moved.status == Status.OK
    kept = {
        name: jax.tree.map(lambda a, b: jnp.where(is_healthy, a, b), value, getattr(before, name))
        for name, value in new.items()
    }
    return moved._replace(**kept)


def refuse_policy_term(problem: Problem, method: str) -> None:
    """Raise `ValueError` for a method whose estimator needs f to be a running cost."""
    if problem.g is not None:
        raise ValueError(
            f"{method} estimates the gradient of a running cost from sampled returns; {problem.name} has a policy "
            "term g in its upper objective; use hfac, nested or exact_gradient"
        )


def at_fixed(schedules: Schedules, *rates: str) -> Schedules:
    """The same schedules with the named rates held at their scale."""
    decays: dict[str, Any] = {rate: dataclasses.replace(getattr(schedules, rate), power=0.0) for rate in rates}
    return dataclasses.replace(schedules, **decays)


def gated_by(is_open: jax.Array, schedules: Schedules, *rates: str) -> Schedules:
    """The same schedules with the named rates at zero unless `is_open`."""

    def gated(decay: PowerDecay) -> PowerDecay:
        scale, floor = (jnp.where(is_open, jnp.asarray(v), 0) for v in (decay.scale, decay.floor))
        return jax.tree.unflatten(jax.tree.structure(decay), (scale, decay.power, decay.offset, floor))

    decays: dict[str, Any] = {rate: gated(getattr(schedules, rate)) for rate in rates}
    return dataclasses.replace(schedules, **decays)


def negative(update: PyTree) -> PyTree:
    """The opposite direction."""
    return map_values(jnp.negative, update)


def move(
    state: Any,
    moves: Mapping[str, tuple[jax.Array, PyTree]],
    optimizers: Mapping[str, optax.GradientTransformation],
    bounds: Mapping[str, jax.Array],
    project: Callable[[PyTree, PyTree, jax.Array | None], PyTree] = apply_updates,
) -> Any:
    """Move every variable along its direction and count the step; latch a Status instead if an update is bad.

    An optax optimiser gets the densified direction as the gradient of a loss, and the schedule's rate multiplies
    what it returns. A run that is not healthy keeps its variables: the update is gated, the state is not selected.

    Args:
      state: NamedTuple with the variables, `step`, `status`, `failed_at` and `optimizers` (a dict of states).
      moves: variable -> (rate, direction to add).
      optimizers: variable -> optimiser that replaces plain stochastic approximation.
      bounds: variable -> bound it is projected to; the others are not projected.
      project: ``(params, update, bound) -> params``.
    """
    moments = dict(state.optimizers)
    updates = {}
    for name, (rate, direction) in moves.items():
        if name in optimizers:
            direction, moments[name] = _precondition(optimizers[name], getattr(state, name), direction, moments[name])
        updates[name] = map_values(lambda values, rate=rate: rate * values, direction)
    squares = {name: _squares(updates[name]) for name in sorted(updates)}
    norm = jnp.sqrt(_sum([square for parts in squares.values() for square in parts]))
    lower = [square for name, parts in squares.items() if name != "x" for square in parts]
    is_sound = jnp.isfinite(_sum(lower or _squares(state.x)))
    has_no_derivative = jnp.isnan(_sum(squares.get("x", []))) & is_sound  # too large a step would be infinite
    blame = jnp.where(has_no_derivative, jnp.int32(Status.UPPER_NON_FINITE), jnp.int32(Status.NON_FINITE))
    fault = jnp.where(jnp.isfinite(norm), jnp.int32(Status.OUT_OF_BOUNDS), blame)
    now = jnp.where(norm <= DIVERGENCE_BOUND, jnp.int32(Status.OK), fault)
    status = jnp.where(state.status == Status.OK, now, state.status)
    gated = map_values(lambda values: jnp.where(status == Status.OK, values, 0), updates)
    moved = {name: project(getattr(state, name), update, bounds.get(name)) for name, update in gated.items()}
    failed_now = (status != Status.OK) & (state.status == Status.OK)
    return state._replace(
        step=state.step + 1,
        status=status,
        failed_at=jnp.where(failed_now, state.step, state.failed_at),
        optimizers=moments,
        **moved,
    )


def _precondition(
    optimizer: optax.GradientTransformation, params: PyTree, direction: PyTree, moments: Any
) -> tuple[PyTree, Any]:
    loss_grad = jax.tree.map(jnp.negative, densify(params, direction))
    with jax.numpy_dtype_promotion("standard"):
        update, moments = optimizer.update(loss_grad, moments, params)
    return jax.tree.map(lambda u, p: u.astype(p.dtype), update, params), moments


def _squares(update: PyTree) -> list[jax.Array]:
    """Squared Euclidean norms of an update's parts: no entry moves further. Not finite if a part is not."""
    return [sum_all(part**2) for part in jax.tree.leaves(update) if jnp.issubdtype(part.dtype, jnp.floating)]


def _sum(numbers: list[jax.Array]) -> jax.Array:
    return functools.reduce(jnp.add, numbers) if numbers else jnp.zeros((), jnp.float32)


def mean(batch: Transition, values: jax.Array) -> jax.Array:
    """Weighted sum of one value per transition: a sample mean, or an expectation. []."""
    return jnp.sum(batch.weight * values)


class Averaged(NamedTuple):
    """State of a method whose solution is a running average of x."""

    inner: Any
    average: PyTree

    @property
    def step(self) -> jax.Array:
        """Iterations done. int32 []."""
        return self.inner.step

    @property
    def status(self) -> jax.Array:
        """Latched `Status`. int32 []."""
        return self.inner.status

    @property
    def failed_at(self) -> jax.Array:
        """Step of the first fault, or -1. int32 []."""
        return self.inner.failed_at

    def start_from(self, x: PyTree) -> "Averaged":
        """The same state at another upper variable."""
        return Averaged(start_from(self.inner, x), x)


def tail_average(algorithm: Algorithm, fraction: float) -> Algorithm:
    """The same method, judged at x averaged over about the last `fraction` of the run so far.

    Polynomial-decay averaging (Shamir & Zhang, 2013): weights grow like j^eta with eta = 2 / fraction - 2, which
    gives them the mean age of a plain average over that last fraction. It needs no horizon and no history, so a run
    that is extended keeps every recorded value.

    Raises:
      ValueError: if the fraction is not in (0, 1].
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"tail_average must lie in (0, 1], got {fraction}; 0.5 averages over the last half")
    eta = 2 / fraction - 2

    def init(key: Key, schedules: Any) -> Averaged:
        inner = algorithm.init(key, schedules)
        return Averaged(inner, algorithm.solution(inner).x)

    def step(key: Key, state: Averaged, schedules: Any) -> tuple[Averaged, Any]:
        inner, info = algorithm.step(key, state.inner, schedules)
        x = algorithm.solution(inner).x
        dtype = jnp.result_type(jax.tree.leaves(x)[0]) if jax.tree.leaves(x) else jnp.result_type(float)
        rounds = (inner.step // AVERAGING_STRIDE).astype(dtype)
        is_due = (inner.step % AVERAGING_STRIDE == 0) & (inner.status == Status.OK)
        weight = jnp.where(is_due, (eta + 1) / (eta + rounds), 0).astype(dtype)
        average = jax.tree.map(lambda mean, new: mean + weight * (new - mean), state.average, x)
        return Averaged(inner, average), info

    def solution(state: Averaged) -> Solution:
        return Solution(state.average, algorithm.solution(state.inner).theta)

    return Algorithm(init, step, solution)


def with_held_rates(algorithm: Algorithm, *fixed: str, inner_steps: int = 1) -> Algorithm:
    """The same method with the named rates held at their scale and x moved at every `inner_steps`-th step only.

    Raises:
      ValueError: if inner_steps is no positive whole number.
    """
    check_count("inner_steps", inner_steps)

    def step(key: Key, state: Any, schedules: Schedules) -> tuple[Any, Any]:
        held = at_fixed(schedules, *fixed)
        if inner_steps > 1:
            held = gated_by(is_due(state.step, inner_steps), held, "upper")
        return algorithm.step(key, state, held)

    return algorithm._replace(step=step)


Builder = Callable[..., Algorithm]


def method(builder: Builder) -> Builder:
    """Give a builder what every method has: options of the right type, numbers that may differ by run, shared arrays.

    What is large in a problem, its `shared` arrays, is thereby an argument of compiled programs, and the method's file
    need not know.
    """

    @functools.wraps(builder)
    def build(problem: Any, **chosen: Any) -> Algorithm:
        known = options.of(builder, options.kind_of(problem))
        own = {
            name: _checks.option(name, value, known[name].hint) if name in known else value
            for name, value in chosen.items()
        }

        def check_number(name: str, value: float) -> None:
            if name not in known or not known[name].is_number:
                numbers = [each for each, option in known.items() if option.is_number]
                there_are = f"; numbers that may are {', '.join(numbers)}" if numbers else ""
                raise ValueError(f"'{name}' of {builder.__name__} cannot differ from run to run of a sweep{there_are}")
            builder(problem, **own | {name: value})

        def built(problem: Any) -> Algorithm:
            finish = getattr(problem, "finish", lambda algorithm, **options: algorithm)
            return finish(builder(problem, **own), **own)

        algorithm = built(problem)._replace(check_number=check_number, is_long=getattr(problem, "is_long", False))
        if not hasattr(problem, "with_shared"):
            return algorithm
        return algorithm._replace(shared=problem.shared, rebuild=lambda tree: built(problem.with_shared(tree)))

    return build


def tabular(builder: Builder) -> Builder:
    """A `method` that refuses, with `ValueError`, what is no tabular problem."""

    @functools.wraps(builder)
    def checked(problem: Any, **chosen: Any) -> Algorithm:
        if not isinstance(problem, Problem):
            raise ValueError(f"{builder.__name__} needs a tabular hfac.Problem, got {type(problem).__name__}")
        return builder(problem, **chosen)

    return method(checked)


def variant_of(base: Builder, *shared: str) -> Callable[[Builder], Builder]:
    """Mark a builder as handing options on to another, so that whoever asks for its options finds those too.

    Args:
      base: the other builder.
      shared: its options that may be given; those of the problem's kind always may.
    """

    def mark(builder: Builder) -> Builder:
        own, other = inspect.signature(builder), inspect.signature(base)
        kept = [p for p in own.parameters.values() if p.kind != p.VAR_KEYWORD]
        last = [p for p in other.parameters.values() if p.kind == p.VAR_KEYWORD]
        signature = own.replace(parameters=[*kept, *(other.parameters[name] for name in shared), *last])

        @functools.wraps(builder)
        def checked(*args: Any, **options: Any) -> Algorithm:
            refused = [name for name in options if name in other.parameters and name not in signature.parameters]
            if refused:
                raise ValueError(f"{builder.__name__} has no option '{refused[0]}'; it is one of {base.__name__} only")
            return builder(*args, **options)

        checked.__signature__ = signature  # type: ignore[attr-defined]
        checked.__annotations__ = {**base.__annotations__, **builder.__annotations__}
        checked.base = base  # type: ignore[attr-defined]
        return checked

    return mark


def check_count(name: str, value: int) -> None:
    """Raise `ValueError` unless an option is a whole number of at least one."""
    _checks.count(name, value)


def check_fraction(name: str, value: float, with_zero: bool = False) -> None:
    """Raise `ValueError` unless an option lies in (0, 1], or in [0, 1]."""
    _checks.number(name, value)
    if _checks.is_traced(value):
        return
    if not (0 <= value <= 1 and (with_zero or value > 0)):
        raise ValueError(f"{name} must lie in {'[' if with_zero else '('}0, 1], got {value}")


def is_due(step: jax.Array, inner_steps: int) -> jax.Array:
    """Whether the upper level moves at the end of this lower step: at every `inner_steps`-th. bool []."""
    return (step + 1) % jnp.int32(inner_steps) == 0


def conjugate_gradients(
    multiply: Callable[[jax.Array], jax.Array], ridge: jax.Array, target: jax.Array, num_steps: int
) -> tuple[jax.Array, jax.Array]:
    """Solve (A + ridge I) v = target by a fixed number of steps from zero; also returns the relative residual.

    It rests from the first search direction on along which A is not positive, so no step is longer than 1 / ridge.
    """
    norm = jnp.vdot(target, target)
    floor = jnp.finfo(target.dtype).eps ** 2 * norm + jnp.finfo(target.dtype).tiny

    def improve(_: jax.Array, carry: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        v, rest, search, square = carry
        image = multiply(search)
        curvature = jnp.vdot(search, image)
        is_open = (curvature > 0) & (square > floor)
        length = jnp.where(is_open, square / jnp.where(is_open, curvature + ridge * jnp.vdot(search, search), 1), 0)
        new_rest = rest - length * (image + ridge * search)
        new_square = jnp.vdot(new_rest, new_rest)
        onward = new_rest + new_square / jnp.maximum(square, floor) * search
        return v + length * search, new_rest, jnp.where(is_open, onward, search), new_square

    start = (jnp.zeros_like(target), target, target, norm)
    v, _, _, square = jax.lax.fori_loop(0, num_steps, improve, start)
    return v, jnp.sqrt(square / jnp.maximum(norm, floor))
