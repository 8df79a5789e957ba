"""Everything about one configuration of a run in one value: the condition, curvature, slope, error and a verdict."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hfac import exact, results
from hfac._compiler import random
from hfac.diagnostics._error import ErrorSplit, explain, split_error
from hfac.diagnostics._lower_level import (
    PolyakLojasiewicz,
    curvature,
    polyak_lojasiewicz,
    random_policies,
    response_slope,
)
from hfac.schedules import Schedules
from hfac.tabular.problem import Problem
from hfac.types import Status

if TYPE_CHECKING:
    import xarray

SCALES = np.geomspace(0.03, 30.0, 13)  # of random logits
POLICIES_PER_SCALE = 8
NUM_TAUS = 7  # of the slope of the best response
TAU_SPAN = 10.0  # they lie this factor above and below the run's last tau
NUM_EIGENVALUES = 120  # Ritz values; all eigenvalues where there are no more
VANISHED = 1e-9  # a gradient below it is zero
SETTLED = 1e-12  # a gap below this part of the largest one is rounding: the ratio says nothing there


class Diagnosis(NamedTuple):
    """What `diagnose` found. N seeds, those that failed left out; T record points; M random policies."""

    step: np.ndarray  # [T]
    seeds: np.ndarray  # [N]
    along: PolyakLojasiewicz  # leaves [T, N], at the tracked policy and its own x_k, tau_k; ratio nan where settled
    needed: float  # smallest constant that pulls the policy in within this run: 1 / ((1-gamma) sum_k alpha_k tau_k)
    scales: np.ndarray  # [M], of the random logits
    at_random: PolyakLojasiewicz  # leaves [M], at the last x and tau of the first seed
    entropy: float  # the last tau
    penalty: float  # the last w
    curvature: np.ndarray  # eigenvalues of -Hessian J_tau at the last policy of the first seed, ascending
    curvature_best: np.ndarray  # the same at the best response there
    taus: np.ndarray  # [K]
    slopes: np.ndarray  # [K], |d pi*_tau / dx| at the last x of the first seed
    split: ErrorSplit  # leaves [N, ...], at the last record
    shares: dict[str, float]  # of what is left of the judged gradient; they add up to one

    @property
    def constant(self) -> float:
        """The largest C for which the condition holds along the run."""
        return float(np.nanmin(self.along.ratio))

    @property
    def limit(self) -> str:
        """The largest share; "nothing" where no gradient is left, "unknown" where L has no minimiser that was found."""
        if np.max(np.abs(self.split.exact)) < VANISHED:
            return "nothing"
        if not np.all(np.isfinite(list(self.shares.values()))):
            return "unknown"
        return max(self.shares, key=lambda name: self.shares[name])

    def verdict(self) -> str:
        """Whether the condition holds along the run, in one sentence."""
        t, n = np.unravel_index(int(np.nanargmin(self.along.ratio)), self.along.ratio.shape)
        where = f"seed {self.seeds[n]}, step {self.step[t]:,}"
        if self.constant >= self.needed:
            return f"PL holds with C >= {self.constant:.2g} along this run (smallest at {where})"
        return (
            f"PL violated at {where}: C = {self.constant:.2g} there, below the {self.needed:.2g} "
            "that pulls a policy in within a run of this length"
        )

    def limit_words(self) -> str:
        """What keeps the judged gradient from being zero, in one sentence."""
        ratio = self.penalty / self.entropy
        if self.limit == "nothing":
            return "nothing: x is stationary to rounding"
        if self.limit == "unknown":
            return f"what cannot be told: no minimiser of L was found at w/tau = {ratio:.3g}"
        words = {
            "regularization": f"the entropy weight's bias (tau = {self.entropy:.3g}): let tau fall further",
            "penalty": f"the penalty's bias (w/tau = {ratio:.3g}): let w/tau fall further",
            "tracking": "policies that lag behind x: smaller steps of x, or larger ones of the actors",
            "unsettled": "x, which is not at rest: run longer; where noise moves it, let its steps fall",
        }
        return f"{words[self.limit]} ({self.shares[self.limit]:.0%} of what is left of the gradient)"


def diagnose(
    problem: Problem,
    data: "xarray.Dataset",
    schedules: Schedules,
    judge: float,
    options: Mapping[str, Any],
    progress: Callable[[float, float], None] = lambda done, total: None,
) -> Diagnosis:
    """Look at one configuration of a sweep that recorded `hfac.metrics.state`.

    Args:
      problem: that was run.
      data: dimensions seed and step.
      schedules: of the configuration.
      judge: entropy weight of the objective that counts, > 0.
      options: of `hfac.diagnostics.split_error`: sampler, batch_size, coupled, difference, as the run used them.
      progress: called with (parts done, parts in all).

    Raises:
      ValueError: if every seed failed.
    """
    is_healthy = (data["status"].isel(step=-1) == Status.OK).values
    if not is_healthy.any():
        raise ValueError("every run failed; there is nothing to diagnose")
    data = data.isel(seed=is_healthy).transpose("seed", "step", ...)
    parts = _parts(problem, data, judge, options)
    found: dict[str, Any] = {}
    for done, (name, part) in enumerate(parts.items()):
        progress(done, len(parts))
        found[name] = part()
    progress(len(parts), len(parts))
    gap = found["along"].gap
    is_settled = gap <= SETTLED * gap.max()
    along = found["along"]._replace(ratio=np.where(is_settled, np.nan, found["along"].ratio))
    horizon = int(data["step"][-1])
    return Diagnosis(
        step=data["step"].values,
        seeds=data["seed"].values,
        needed=_needed(problem, schedules, horizon),
        scales=np.repeat(SCALES, POLICIES_PER_SCALE),
        entropy=float(data["entropy"][0, -1]),
        penalty=float(data["penalty"][0, -1]),
        taus=_taus(data),
        shares=explain(found["split"]),
        **found | {"along": along},
    )


def _parts(
    problem: Problem, data: "xarray.Dataset", judge: float, options: Mapping[str, Any]
) -> dict[str, Callable[[], Any]]:
    """The computations, each a program of its own; solves run one after another, side by side they can deadlock."""
    num_states, num_actions = problem.mdp.num_states, problem.mdp.num_actions
    leaves = {str(n): jnp.asarray(v.values, float) for n, v in data.data_vars.items()}
    record = results.structured(leaves, {"x": problem.first_x(random.key(0))})
    x, theta = record["x"], record["theta"]
    last_x = jax.tree.map(lambda leaf: leaf[0, -1], x)
    tau = jnp.asarray(float(data["entropy"][0, -1]))

    def along() -> PolyakLojasiewicz:
        shape = theta.shape[:2]
        flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), (x, theta, record["entropy"]))
        one = jax.jit(lambda at: jax.lax.map(lambda a: polyak_lojasiewicz(problem, *a), at))
        return jax.tree.map(lambda leaf: np.asarray(leaf).reshape(shape).T, one(flat))

    def at_random() -> PolyakLojasiewicz:
        scales = jnp.asarray(np.repeat(SCALES, POLICIES_PER_SCALE))
        tables = random_policies(random.key(0), (num_states, num_actions), scales)
        one = jax.jit(lambda at: jax.lax.map(lambda table: polyak_lojasiewicz(problem, last_x, table, tau), at))
        return jax.device_get(one(tables))

    def eigenvalues(logits: jax.Array) -> np.ndarray:
        return np.asarray(jax.jit(lambda table: curvature(problem, last_x, table, tau, NUM_EIGENVALUES))(logits))

    def best() -> jax.Array:
        return jnp.log(jax.jit(lambda x: exact.best_response(problem, x, tau))(last_x))

    def slopes() -> np.ndarray:
        one = jax.jit(lambda taus: jax.lax.map(lambda tau: response_slope(problem, last_x, tau), taus))
        return np.asarray(one(jnp.asarray(_taus(data))))

    def split() -> ErrorSplit:
        last = {name: record[name][:, -1] for name in ("theta", "theta_pen", "penalty", "entropy")}
        states = last | {"x": jax.tree.map(lambda leaf: leaf[:, -1], x)}
        return split_error(problem, states, judge, random.key(1), **options)

    return {
        "along": along,
        "at_random": at_random,
        "curvature": lambda: eigenvalues(theta[0, -1]),
        "curvature_best": lambda: eigenvalues(best()),
        "slopes": slopes,
        "split": split,
    }


def _needed(problem: Problem, schedules: Schedules, horizon: int) -> float:
    """Along the flow the gap shrinks by exp(-C (1-gamma) sum_k alpha_k tau_k): the constant at which that is 1/e."""
    steps = jnp.unique(jnp.round(jnp.geomspace(1, max(horizon, 2), 200))).astype(jnp.int32) - 1
    rates = schedules.at(steps, jnp.float64)
    product = np.broadcast_to(np.asarray(rates.actor * rates.entropy), steps.shape)
    return 1 / float((1 - problem.mdp.discount) * np.trapezoid(product, np.asarray(steps)))


def _taus(data: "xarray.Dataset") -> np.ndarray:
    last = float(data["entropy"][0, -1])
    return np.geomspace(last / TAU_SPAN, last * TAU_SPAN, NUM_TAUS)
