"""Where the error of a sampled hyper-gradient comes from: a finite tau, a finite w, policies that lag, and noise."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from hfac import exact
from hfac.tabular import estimators, policies, sampling
from hfac.tabular.problem import Problem
from hfac.types import Key, PyTree, Transition, densify

PARTS = ("regularization", "penalty", "tracking")  # biases, in the order in which they are added
MIXING = 10  # burn-in of a Markov chain at fixed policies, in units of 1 / (1 - gamma)
NUM_DRAWS = 4_096


class ErrorSplit(NamedTuple):
    """The hyper-gradient that a step uses, against grad Phi at the judge's tau; flattened to [N, d] for N states.

    ``mean = exact + regularization + penalty + tracking`` holds exactly, and the mean square error of a sampled
    direction is |regularization + penalty + tracking|^2 + noise.
    """

    exact: np.ndarray  # grad Phi_{judge}(x)
    regularization: np.ndarray  # grad Phi_tau - grad Phi_{judge}
    penalty: np.ndarray  # grad Phi_{w,tau} - grad Phi_tau
    tracking: np.ndarray  # expected direction at the tracked policies - grad Phi_{w,tau}
    mean: np.ndarray  # expected direction at the tracked policies
    noise: np.ndarray  # [N], trace of a sampled direction's covariance
    square_error: np.ndarray  # [N], mean of |sampled direction - exact|^2, by brute force
    square_error_se: np.ndarray  # [N], its standard error
    cosine: np.ndarray  # [N], of the mean and the exact gradient


def split_error(
    problem: Problem,
    states: Mapping[str, Any],
    judge: float,
    key: Key,
    *,
    sampler: str = "markov",
    batch_size: int = 1,
    coupled: bool = False,
    difference: Literal["forward", "central"] = "forward",
    num_draws: int = NUM_DRAWS,
) -> ErrorSplit:
    """Split the error of HFAC's direction at recorded states.

    Directions are drawn at the frozen policies, from chains that have mixed. Expectations, which solve linear systems,
    and draws are programs of their own: side by side they can deadlock on CPUs.

    Args:
      problem: any tabular problem.
      states: records of `hfac.metrics.state`, leaves [N, ...]: x, theta, theta_pen, penalty, entropy.
      judge: entropy weight of the objective that counts, > 0.
      key: of the draws.
      sampler: markov, iid or exact, as the run used it.
      batch_size: as the run used it.
      coupled: as the run used it.
      difference: forward or central, as the run used it.
      num_draws: sampled directions; none with the exact sampler.
    """
    dtype = jnp.result_type(float)
    names = ("x", "theta", "theta_pen", "penalty", "entropy")
    at = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), {name: states[name] for name in names})
    mdp = problem.mdp.astype(dtype)
    policy = policies.tabular_softmax(mdp.num_states, mdp.num_actions, dtype)
    estimator = estimators.central_hypergradient if difference == "central" else estimators.penalty_hypergradient

    def flat(tree: PyTree) -> jax.Array:
        return ravel_pytree(tree)[0]

    def direction(state: Mapping[str, Any], batches: tuple[Transition, ...]) -> jax.Array:
        thetas = (state["theta"], state["theta_pen"])
        pi, pi_pen = (estimators.policy_if_needed(problem, policy, params) for params in thetas)
        batch, batch_pen = batches
        update = estimator(problem, state["x"], batch, batch_pen, pi, pi_pen, state["penalty"])
        return flat(densify(state["x"], update))

    def expected_direction(state: Mapping[str, Any]) -> jax.Array:
        return direction(state, sampling.exact(mdp, policy).draw(key, (), state["theta"], state["theta_pen"]).batches)

    def at_every(function: Callable[[Mapping[str, Any]], jax.Array]) -> np.ndarray:
        """Values at all states, in a program of its own: factorisations side by side can deadlock on CPUs."""
        return np.asarray(jax.jit(lambda at: jax.lax.map(function, at))(at))

    target = at_every(lambda s: flat(exact.hypergradient(problem, s["x"], judge)))
    own = at_every(lambda s: flat(exact.hypergradient(problem, s["x"], s["entropy"])))
    penalized = at_every(
        lambda s: flat(exact.penalty_hypergradient(problem, s["x"], s["penalty"], s["entropy"], difference))
    )
    mean = at_every(expected_direction)
    if sampler == "exact":
        drawn = mean[:, None]
    else:
        source = sampling.build(sampler, mdp, policy, batch_size, coupled)
        num_burn_in = int(np.ceil(MIXING / (1 - float(problem.mdp.discount)))) if sampler == "markov" else 1

        def draw(state: Mapping[str, Any], key: Key) -> jax.Array:
            return direction(state, _mixed(source, key, num_burn_in, state["theta"], state["theta_pen"]))

        many = jax.jit(jax.vmap(draw, (None, 0)))
        each = [jax.tree.map(lambda leaf, i=i: leaf[i], at) for i in range(len(target))]
        drawn = np.stack(
            [
                np.asarray(many(one, jax.random.split(jax.random.fold_in(key, i), num_draws)))
                for i, one in enumerate(each)
            ]
        )
    errors = np.sum((drawn - target[:, None]) ** 2, -1)
    noise = np.sum(np.var(drawn, axis=1, ddof=1), -1) if drawn.shape[1] > 1 else np.zeros(len(target))
    lengths = np.linalg.norm(mean, axis=-1) * np.linalg.norm(target, axis=-1)
    return ErrorSplit(
        target,
        own - target,
        penalized - own,
        mean - penalized,
        mean,
        noise,
        errors.mean(-1),
        errors.std(-1) / np.sqrt(errors.shape[1]),
        np.sum(mean * target, -1) / lengths,
    )


def _mixed(source: sampling.Sampler, key: Key, steps: int, *thetas: PyTree) -> Any:
    """The last of some draws in a row at fixed policies."""

    def again(i: jax.Array, chains: Any) -> Any:
        return source.draw(jax.random.fold_in(key, i), chains, *thetas).chains

    chains = jax.lax.fori_loop(1, steps, again, source.init(jax.random.fold_in(key, 0)))
    return source.draw(jax.random.fold_in(key, steps), chains, *thetas).batches


def explain(splits: ErrorSplit) -> dict[str, float]:
    """Shares of what is left of the judged gradient: they add up to one.

    The expected direction is the exact gradient plus biases, so the gradient that is left is the direction that still
    moves x ("unsettled") minus the biases; each is projected on the gradient, summed over runs.

    Args:
      splits: of several runs, leaves [N, ...].
    """
    left = splits.exact
    total = float(np.sum(left**2))
    parts = {name: -getattr(splits, name) for name in PARTS} | {"unsettled": splits.mean}
    return {name: float(np.sum(part * left)) / total for name, part in parts.items()}
