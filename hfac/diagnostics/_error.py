"""Where the error of a sampled hyper-gradient comes from: a finite tau, a finite w, policies that lag, and noise."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from hfac import estimators, exact, policies, sampling
from hfac.problem import Problem
from hfac.types import Key, PyTree, densify

PARTS = ("regularization", "penalty", "tracking")  # biases, in the order in which they are added
MIXING = 10  # burn-in of a Markov chain at fixed policies, in units of 1 / (1 - gamma)
NUM_DRAWS = 4_096


class ErrorSplit(NamedTuple):
    """The hyper-gradient that a step uses, against grad Phi at the judge's tau; all flattened to [d].

    ``mean = exact + regularization + penalty + tracking`` holds exactly, and the mean square error of a sampled
    direction is |regularization + penalty + tracking|^2 + noise.
    """

    exact: jax.Array  # grad Phi_{judge}(x)
    regularization: jax.Array  # grad Phi_tau - grad Phi_{judge}
    penalty: jax.Array  # grad Phi_{w,tau} - grad Phi_tau
    tracking: jax.Array  # expected direction at the tracked policies - grad Phi_{w,tau}
    mean: jax.Array  # expected direction at the tracked policies
    noise: jax.Array  # [], trace of a sampled direction's covariance
    square_error: jax.Array  # [], mean of |sampled direction - exact|^2, by brute force
    square_error_se: jax.Array  # [], its standard error
    cosine: jax.Array  # [], of the mean and the exact gradient


def split_error(
    problem: Problem,
    state: Mapping[str, Any],
    judge: float,
    key: Key,
    *,
    sampler: str = "markov",
    batch_size: int = 1,
    coupled: bool = False,
    difference: str = "forward",
    num_draws: int = NUM_DRAWS,
) -> ErrorSplit:
    """Split the error of HFAC's direction at one recorded state; pure, may be jitted.

    Directions are drawn at the frozen policies, from chains that have mixed.

    Args:
      problem: any tabular problem.
      state: a record of `hfac.metrics.state`: x, theta, theta_pen, penalty, entropy.
      judge: entropy weight of the objective that counts, > 0.
      key: of the draws.
      sampler: markov, iid or exact, as the run used it.
      batch_size: as the run used it.
      coupled: as the run used it.
      difference: forward or central, as the run used it.
      num_draws: sampled directions; none with the exact sampler.
    """
    dtype = jnp.result_type(float)
    x = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), state["x"])
    theta, theta_pen = (jnp.asarray(state[name], dtype) for name in ("theta", "theta_pen"))
    w, tau = (jnp.asarray(state[name], dtype) for name in ("penalty", "entropy"))
    mdp = problem.mdp.astype(dtype)
    policy = policies.tabular_softmax(mdp.num_states, mdp.num_actions, dtype)
    estimator = estimators.central_hypergradient if difference == "central" else estimators.penalty_hypergradient
    pi, pi_pen = (estimators.policy_if_needed(problem, policy, params) for params in (theta, theta_pen))

    def direction(batches: Any) -> jax.Array:
        batch, batch_pen = batches
        return ravel_pytree(densify(x, estimator(problem, x, batch, batch_pen, pi, pi_pen, w)))[0]

    def gradient(tree: PyTree) -> jax.Array:
        return ravel_pytree(tree)[0]

    target = gradient(exact.hypergradient(problem, x, judge))
    own = gradient(exact.hypergradient(problem, x, tau))
    penalized = gradient(exact.penalty_hypergradient(problem, x, w, tau, difference))  # type: ignore[arg-type]
    mean = direction(sampling.exact(mdp, policy).draw(key, (), theta, theta_pen).batches)
    if sampler == "exact":
        errors, noise = jnp.sum((mean - target) ** 2)[None], jnp.zeros((), dtype)
    else:
        source = sampling.build(sampler, mdp, policy, batch_size, coupled)
        steps = int(np.ceil(MIXING / (1 - float(problem.mdp.discount)))) if sampler == "markov" else 1
        drawn = jax.vmap(lambda key: direction(_mixed(source, key, steps, theta, theta_pen)))(
            jax.random.split(key, num_draws)
        )
        errors = jnp.sum((drawn - target[None]) ** 2, -1)
        noise = jnp.sum(jnp.var(drawn, axis=0, ddof=1))
    cosine = jnp.vdot(mean, target) / (jnp.linalg.norm(mean) * jnp.linalg.norm(target))
    return ErrorSplit(
        target,
        own - target,
        penalized - own,
        mean - penalized,
        mean,
        noise,
        errors.mean(),
        errors.std() / jnp.sqrt(errors.size),
        cosine,
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
    left = np.asarray(splits.exact)
    total = float(np.sum(left**2))
    parts = {name: -np.asarray(getattr(splits, name)) for name in PARTS} | {"unsettled": np.asarray(splits.mean)}
    return {name: float(np.sum(part * left)) / total for name, part in parts.items()}
