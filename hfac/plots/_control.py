"""Figures of neural policies: what fresh episodes earn, and what the leader pays for what is seen."""

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hfac._trees import named_leaves, restored
from hfac.plots._runs import EPISODES, References, configurations, curve, describe, typical
from hfac.plots._style import COLORS, WIDTH, subplots

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

MEASURES = {  # recorded along a run -> how an axis says it
    EPISODES: "return of fresh episodes",
    "pair_accuracy": "share of pairs ranked right",
    "entropy": "entropy, nats per action",
}
PENALISED = "return_pen"  # of theta_pen
RESOLUTION = 61  # points along each of the two observations
REACH = 2.0  # in units of an observation's usual size


def returns(data: "xarray.Dataset", problem: Any, references: References) -> "Figure | None":
    """Return of fresh episodes, accuracy on pairs and entropy against environment steps, a panel each.

    Interquartile mean and 95 % bootstrap band over seeds; dashed, the penalised policy; dotted, the first policies.
    None where no episodes were recorded.
    """
    del references
    if EPISODES not in data:
        return None
    names = [name for name in MEASURES if name in data]
    figure, axes = subplots(len(names), 1, (WIDTH, 2.6 * len(names) + 0.4), sharex=True, squeeze=False)
    for axis, name in zip(axes[:, 0], names, strict=True):
        for index, pick in enumerate(configurations(data)):
            own, color = data.isel(pick), COLORS[index % len(COLORS)]
            found = curve(own, name)
            shown = np.isfinite(found.interval.estimate)
            ticks = found.clock[shown]
            axis.plot(ticks, found.interval.estimate[shown], color=color, label=describe(data, pick) + found.diverged)
            axis.fill_between(
                ticks, found.interval.low[shown], found.interval.high[shown], color=color, alpha=0.2, lw=0
            )
            if name == EPISODES and PENALISED in own:
                pen = curve(own, PENALISED)
                axis.plot(pen.clock, pen.interval.estimate, color=color, lw=1, ls="--", label="its penalised policy")
        if name == EPISODES:
            first = float(data[EPISODES].isel(step=0).mean())
            axis.axhline(first, color="0.35", ls=":", lw=1.1, label=f"first policies, {first:.4g}")
        axis.set_ylabel(MEASURES[name])
    axes[0, 0].legend(loc="best", fontsize=7.5, frameon=True, edgecolor="none", framealpha=0.9)
    axes[-1, 0].set_xlabel("environment steps")
    words = f"{problem.name}: interquartile mean and 95 % interval, {data.sizes['seed']} seeds"
    axes[0, 0].set_title(words, fontsize=9, loc="left")
    return figure


class Payment(NamedTuple):
    """What the leader pays along the first two observations, at one record point."""

    step: int
    pays: np.ndarray  # [second, first], mean over actions of r_x where the other observations are 0


class Paid(NamedTuple):
    """Payments at the first, a middle and the last record point of a run."""

    words: str  # configuration and seed
    reaches: tuple[float, float]  # half-widths along the first two observations
    moments: tuple[Payment, ...]


def paid(data: "xarray.Dataset", problem: Any) -> Paid | None:
    """Of the configuration that ends best, the seed whose end is the median one; None for what is no environment."""
    if EPISODES not in data or len(np.asarray(problem.environment.observations.low)) < 2:
        return None
    words, run = typical(data)
    moments = tuple(payment(problem, run.isel(step=t)) for t in (0, run.sizes["step"] // 2, -1))
    return Paid(words, reaches(problem), moments)


def payments(data: "xarray.Dataset", problem: Any, references: References) -> "Figure | None":
    """What the reward pays along the first two observations at the first, a middle and the last record point.

    Of the configuration that ends best, the seed whose end is the median one; the other observations are 0, actions
    are averaged. None for what is no environment, or is a grid.
    """
    del references
    found = paid(data, problem)
    if found is None:
        return None
    first, second = found.reaches
    limit = max(float(np.max(np.abs(each.pays))) for each in found.moments) or 1.0
    figure, axes = subplots(1, 3, (WIDTH * 1.5, 3.2), sharey=True)
    image: Any = None
    for axis, each in zip(axes, found.moments, strict=True):
        look = {"extent": (-first, first, -second, second), "origin": "lower", "aspect": "auto", "cmap": "RdBu"}
        image = axis.imshow(each.pays, vmin=-limit, vmax=limit, **look)
        axis.set_title(f"step {each.step:,}", fontsize=9)
        axis.set_xlabel("first observation")
        axis.grid(visible=False)
    axes[0].set_ylabel("second observation")
    figure.colorbar(image, ax=axes, label="$r_x$, mean over actions", shrink=0.85, pad=0.01)
    figure.supxlabel(f"{found.words}; the other observations are 0", fontsize=8)
    return figure


def reaches(problem: Any) -> tuple[float, float]:
    """Half-widths of what is drawn along the first two observations."""
    environment = problem.environment
    high = np.asarray(environment.observations.high, float)
    usual = REACH * np.asarray(np.ones_like(high) if environment.scale is None else environment.scale, float)
    first, second = np.where(np.isfinite(high), np.minimum(high, usual), usual)[:2]
    return float(first), float(second)


def payment(problem: Any, record: "xarray.Dataset") -> Payment:
    """What one record's reward pays.

    Args:
      problem: on an environment with two observations or more.
      record: of one run at one record point, with x.
    """
    like = jax.eval_shape(problem.init_x, jax.random.key(0))
    x = restored({name: record[name].values for name in named_leaves({"x": like})}, like, "x")
    x = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), x)
    first, second = (jnp.linspace(-reach, reach, RESOLUTION, dtype=jnp.float32) for reach in reaches(problem))
    actions = problem.environment.actions
    if hasattr(actions, "num"):
        tried = jnp.arange(actions.num, dtype=jnp.int32)
    else:
        tried = jnp.linspace(jnp.asarray(actions.low, jnp.float32), jnp.asarray(actions.high, jnp.float32), 5)
    num_observations = len(np.asarray(problem.environment.observations.low))

    def pays(a: jax.Array, b: jax.Array) -> jax.Array:
        obs = jnp.zeros(num_observations, jnp.float32).at[0].set(a).at[1].set(b)
        return jnp.mean(jax.vmap(lambda action: problem.reward(x, obs, action, obs))(tried))

    found = jax.jit(jax.vmap(jax.vmap(pays, (0, None)), (None, 0)))(first, second)
    return Payment(int(record["step"]), np.asarray(found))
