"""A NumPy float64 twin of the ground truth, written apart from hfac.exact: dense arrays, fixed points, plain solves."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hfac import Problem


class Tables(NamedTuple):
    """A problem at one x as dense arrays."""

    kernel: np.ndarray  # [S, A, S]
    reward: np.ndarray  # [S, A]
    cost: np.ndarray  # [S, A]
    initial: np.ndarray  # [S]
    gamma: float
    bootstrap: np.ndarray  # [S], gamma or 0 where the episode ends


def tabulate(problem: Problem, x: np.ndarray) -> Tables:
    mdp = problem.mdp
    num_states, num_actions, width = np.shape(mdp.next_states)
    kernel = np.zeros((num_states, num_actions, num_states))
    for s, a, k in np.ndindex(num_states, num_actions, width):
        kernel[s, a, mdp.next_states[s, a, k]] += mdp.probs[s, a, k]
    where = [jnp.asarray(i.ravel()) for i in np.indices(kernel.shape)]

    def mean(function) -> np.ndarray:
        if function is None:
            return np.zeros(kernel.shape[:2])
        values = jax.jit(jax.vmap(function, (None, 0, 0, 0)))(jnp.asarray(x, float), *where)
        return (kernel * np.asarray(values, float).reshape(kernel.shape)).sum(-1)

    gamma = float(mdp.discount)
    bootstrap = np.full(num_states, gamma)
    if mdp.ends is not None:
        bootstrap[mdp.ends] = 0.0
    return Tables(kernel, mean(problem.reward), mean(problem.cost), np.asarray(mdp.initial), gamma, bootstrap)


def backup(t: Tables, rewards: np.ndarray, v: np.ndarray) -> np.ndarray:
    return rewards + t.bootstrap[:, None] * (t.kernel @ v)


def _log_sum_exp(q: np.ndarray) -> np.ndarray:
    top = q.max(-1)
    return top + np.log(np.exp(q - top[:, None]).sum(-1))


def soft_policy(t: Tables, rewards: np.ndarray, tau: float, allowed: np.ndarray | None = None) -> np.ndarray:
    """Soft value iteration to a fixed point."""
    mask = np.zeros(rewards.shape) if allowed is None else np.where(allowed, 0.0, -np.inf)
    v = np.zeros(len(rewards))
    for _ in range(20_000):
        q = backup(t, rewards, v) / tau + mask
        new = tau * _log_sum_exp(q)
        if np.max(np.abs(new - v)) < 1e-15 * (1 + np.max(np.abs(v))):
            break
        v = new
    return np.exp(q - _log_sum_exp(q)[:, None])


def best_response(t: Tables, tau: float) -> np.ndarray:
    return soft_policy(t, t.reward, tau)


def penalized_response(t: Tables, w: float, tau: float) -> np.ndarray:
    """Maximiser of J_tau - w f, without a policy term."""
    return soft_policy(t, t.reward - w * (1 - t.gamma) * t.cost, tau)


def limit_policy(t: Tables, tolerance: float = 1e-8) -> np.ndarray:
    """Value iteration, its optimal actions, and the largest discounted entropy among them."""
    v = np.zeros(len(t.reward))
    for _ in range(5_000):
        v = backup(t, t.reward, v).max(-1)
    q = backup(t, t.reward, v)
    return soft_policy(t, np.zeros(q.shape), 1.0, q >= q.max(-1, keepdims=True) - tolerance)


def _system(t: Tables, pi: np.ndarray) -> np.ndarray:
    return np.eye(len(pi)) - t.bootstrap[:, None] * np.einsum("sa,sap->sp", pi, t.kernel)


def evaluate(t: Tables, rewards: np.ndarray, pi: np.ndarray, tau: float = 0.0) -> np.ndarray:
    """Values of a policy, its entropy weighed by tau. [S]."""
    entropy = -np.where(pi > 0, pi * np.log(np.where(pi > 0, pi, 1.0)), 0.0).sum(-1)
    return np.linalg.solve(_system(t, pi), (pi * rewards).sum(-1) + tau * entropy)


def visitation(t: Tables, pi: np.ndarray) -> np.ndarray:
    return (1 - t.gamma) * np.linalg.solve(_system(t, pi).T, t.initial)


def soft_return(t: Tables, pi: np.ndarray, tau: float) -> float:
    """J_tau."""
    return t.initial @ evaluate(t, t.reward, pi, tau)


def leader_value(t: Tables, pi: np.ndarray) -> np.ndarray:
    """U of the policy."""
    return evaluate(t, (1 - t.gamma) * t.cost, pi)


def upper_objective(problem: Problem, t: Tables, x: np.ndarray, pi: np.ndarray) -> float:
    """f = h + E_d[c] + g."""
    total = ((visitation(t, pi)[:, None] * pi) * t.cost).sum()
    if problem.h is not None:
        total += float(problem.h(jnp.asarray(x, float)))
    if problem.g is not None:
        total += float(problem.g(jnp.asarray(x, float), jnp.asarray(pi, float)))
    return total


def penalty_objective(problem: Problem, t: Tables, x: np.ndarray, pi: np.ndarray, w: float, tau: float) -> float:
    """L_{w,tau} = f + (max J_tau - J_tau) / w."""
    gap = soft_return(t, best_response(t, tau), tau) - soft_return(t, pi, tau)
    return upper_objective(problem, t, x, pi) + gap / w


def central_difference(function, x: np.ndarray, direction: np.ndarray, step: float) -> float:
    """Fourth-order central difference of a scalar function along a direction; error step^4."""
    near, far = ((float(function(x + m * step * direction) - function(x - m * step * direction))) for m in (1, 2))
    return (8 * near - far) / (12 * step)
