"""A tabular problem at one x: its tables, what a policy is worth in them, and the policy that is best.

The oracle and the methods that plan are made of these functions. That they are right is shown by the tests' own brute
force.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from hfac.tabular import linear
from hfac.tabular.mdp import TabularMDP, within_reach
from hfac.tabular.problem import Problem, transition_table
from hfac.tabular.problem import as_float as returning_float
from hfac.types import PyTree, Scalar

MAX_ITERATIONS = 200
MAX_SWEEPS = 20_000


class Model(NamedTuple):
    """A problem at one x: dynamics and expected one-step tables, all in one dtype."""

    mdp: TabularMDP
    reward: jax.Array  # [S, A], E_{s'}[r_x]
    cost: jax.Array  # [S, A], E_{s'}[c]


def model(problem: Problem, x: PyTree, dtype: Any = None) -> tuple[Model, PyTree]:
    """Tabulate a problem at x in a float type, the default one unless given; also returns x in it."""
    x = as_float(x, dtype)
    mdp = problem.mdp.astype(dtype or jnp.result_type(float))
    if problem.cost is None:
        cost = jnp.zeros(mdp.probs.shape[:2], mdp.probs.dtype)
    else:
        cost = expectation(mdp, _table(problem.cost, mdp, x))
    return Model(mdp, expectation(mdp, _table(problem.reward, mdp, x)), cost), x


def as_float(tree: PyTree, dtype: Any = None) -> PyTree:
    """Arrays in a float type; the default is float64 where x64 is on."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype or jnp.result_type(float)), tree)


def _table(function: Any, mdp: TabularMDP, x: PyTree) -> jax.Array:
    return transition_table(function, within_reach(mdp), x).astype(mdp.probs.dtype)


def expectation(mdp: TabularMDP, table: jax.Array) -> jax.Array:
    """Mean over successors of a table [S, A, K]; impossible entries count nothing. [S, A]."""
    return jnp.sum(jnp.where(mdp.probs > 0, mdp.probs * table, 0), axis=-1)


def entropy(pi: jax.Array) -> jax.Array:
    """Entropy of every row of a policy table, nats. [S]."""
    return -jnp.sum(jax.scipy.special.xlogy(pi, pi), axis=-1)


def backup(mdp: TabularMDP, rewards: jax.Array, v: jax.Array) -> jax.Array:
    """Bellman backup ``Q = r + gamma P v``. [S, A]."""
    return rewards + mdp.continuation()[:, None] * jnp.einsum("sal,sl->sa", mdp.joint_probs, v[mdp.joint_successors])


def arrivals(mdp: TabularMDP, flow: jax.Array) -> jax.Array:
    """Discounted mass that a flow [S, A] brings to every state, the transpose of the backup. [S]."""
    weights = mdp.continuation()[:, None] * jnp.einsum("sa,sal->sl", flow, mdp.joint_probs)
    return jnp.zeros_like(flow[:, 0]).at[mdp.joint_successors].add(weights)


def visits(mdp: TabularMDP, pi: jax.Array) -> jax.Array:
    """Normalised visitation d^pi [S]; sums to less than one where episodes end."""
    return (1 - mdp.discount) * linear.accumulate(linear.factorize(mdp, pi), mdp.initial)


def occupancy(mdp: TabularMDP, pi: jax.Array) -> jax.Array:
    """Normalised visitation of states and actions, d^pi(s) pi(a|s). [S, A]."""
    return visits(mdp, pi)[:, None] * pi


def soft_value(mdp: TabularMDP, rewards: jax.Array, pi: jax.Array, tau: Scalar) -> jax.Array:
    """V^pi of the rewards [S, A] with entropy weight tau. [S]."""
    return linear.evaluate(linear.factorize(mdp, pi), jnp.sum(pi * rewards, -1) + tau * entropy(pi))


def soft_sweeps(
    mdp: TabularMDP, rewards: jax.Array, pi: jax.Array, tau: Scalar, v: jax.Array, count: int = 8
) -> jax.Array:
    """A few Bellman sweeps of a policy's soft value from v, without a factorisation. [S]."""
    chain = linear.sparse(mdp, pi)
    income = jnp.sum(pi * rewards, -1) + tau * entropy(pi)
    return linear.repeat(lambda v: income + linear.backward(chain, v), v, count)


def direct_terms(problem: Problem, x: PyTree, pi: jax.Array) -> jax.Array:
    """h(x) + g(x, pi): what of f needs no visitation."""
    total = jnp.zeros((), pi.dtype)
    if problem.h is not None:
        total += returning_float(problem.h)(x)
    if problem.g is not None:
        total += returning_float(problem.g)(x, pi)
    return total


def table_grad(function: Any, mdp: TabularMDP, x: PyTree, weights: jax.Array) -> PyTree:
    """``sum_{s,a} weights(s,a) E_{s'}[grad_x function(x, s, a, s')]`` for weights [S, A]."""
    return jax.grad(lambda x: jnp.vdot(weights, expectation(mdp, _table(function, mdp, x))))(x)


class UpperParts(NamedTuple):
    """f at one policy with both partial gradients."""

    value: jax.Array  # f(x, pi)
    grad_x: PyTree  # d_x f
    grad_pi: jax.Array  # df/dpi [S, A]; a constant added to a row changes nothing along policies


def upper_parts(problem: Problem, at: Model, x: PyTree, pi: jax.Array) -> UpperParts:
    """The upper objective and its partial gradients, from one factorisation, or none without a running cost."""
    if problem.cost is None:
        return upper_parts_from(problem, at, x, pi, jnp.zeros_like(pi[:, 0]), jnp.zeros_like(pi[:, 0]))
    chain = linear.factorize(at.mdp, pi)
    leader_value = linear.evaluate(chain, (1 - at.mdp.discount) * jnp.sum(pi * at.cost, -1))
    return upper_parts_from(problem, at, x, pi, linear.accumulate(chain, at.mdp.initial), leader_value)


def upper_parts_from(
    problem: Problem, at: Model, x: PyTree, pi: jax.Array, expected_visits: jax.Array, leader_value: jax.Array
) -> UpperParts:
    """The same from given visits sum_t gamma^t P(s_t = s) [S] and leader's value U [S], solved or tracked."""
    mdp = at.mdp
    (direct, grad_x), grad_pi = jax.value_and_grad(lambda x: direct_terms(problem, x, pi))(x), jnp.zeros_like(pi)
    if problem.g is not None:
        grad_pi += jax.grad(returning_float(problem.g), argnums=1)(x, pi)
    if problem.cost is not None:
        grad_pi += expected_visits[:, None] * backup(mdp, (1 - mdp.discount) * at.cost, leader_value)
        occupancy = (1 - mdp.discount) * expected_visits[:, None] * pi
        grad_x = jax.tree.map(jnp.add, grad_x, table_grad(problem.cost, mdp, x, occupancy))
    return UpperParts(jnp.vdot(mdp.initial, leader_value) + direct, grad_x, grad_pi)


class PolicyPoint(NamedTuple):
    """A policy at one x with what the derivatives of J_tau in its logits are made of."""

    chain: linear.Chain
    pi: jax.Array  # [S, A]
    visits: jax.Array  # sum_t gamma^t P(s_t = s) [S], unnormalised
    advantage: jax.Array  # Q - tau log pi - V [S, A]


def policy_point(at: Model, logits: jax.Array, tau: jax.Array) -> PolicyPoint:
    """Evaluate softmax logits [S, A] by one factorisation."""
    log_pi = jax.nn.log_softmax(logits)
    pi = jnp.exp(log_pi)
    chain = linear.factorize(at.mdp, pi)
    v = linear.evaluate(chain, jnp.sum(pi * (at.reward - tau * log_pi), -1))
    advantage = backup(at.mdp, at.reward, v) - tau * log_pi - v[:, None]
    return PolicyPoint(chain, pi, linear.accumulate(chain, at.mdp.initial), advantage)


def logits_grad(point: PolicyPoint) -> jax.Array:
    """dJ_tau/dtheta(s, a) = d(s) pi(a|s) A(s, a), unnormalised, [S, A]."""
    return point.visits[:, None] * point.pi * point.advantage


def centered(pi: jax.Array, table: jax.Array) -> jax.Array:
    """A table [S, A] less its mean under the policy in every state."""
    return table - jnp.sum(pi * table, -1, keepdims=True)


def occupancy_tangent(mdp: TabularMDP, point: PolicyPoint, direction: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Derivatives of the visits d [S] and of the occupancy d pi [S, A] along a direction of the logits [S, A].

    The second, as weights of grad_x r, gives grad_x of the directional derivative of J_tau.
    """
    flow = point.visits[:, None] * point.pi * centered(point.pi, direction)
    visits_dot = linear.accumulate(point.chain, arrivals(mdp, flow))
    return visits_dot, flow + visits_dot[:, None] * point.pi


def logits_hessian_product(at: Model, point: PolicyPoint, tau: jax.Array, direction: jax.Array) -> jax.Array:
    """The derivative of `logits_grad` along a direction of the logits, [S, A].

    Written out: the factorisation of the point serves every product, and loops stand in for it above `DENSE_LIMIT`
    states, which automatic differentiation would follow to another precision.
    """
    log_pi_dot = centered(point.pi, direction)
    visits_dot, _ = occupancy_tangent(at.mdp, point, direction)
    v_dot = linear.evaluate(point.chain, jnp.sum(point.pi * log_pi_dot * point.advantage, -1))
    advantage_dot = backup(at.mdp, jnp.zeros_like(direction), v_dot) - tau * log_pi_dot - v_dot[:, None]
    along = point.visits[:, None] * (log_pi_dot * point.advantage + advantage_dot)
    return point.pi * (visits_dot[:, None] * point.advantage + along)


class Response(NamedTuple):
    """A soft-optimal policy with its value."""

    pi: jax.Array  # [S, A]
    value: jax.Array  # [S]


def soft_optimal(
    mdp: TabularMDP,
    rewards: jax.Array,
    tau: jax.Array,
    allowed: jax.Array | None = None,
    start: jax.Array | None = None,
) -> Response:
    """Maximise the entropy-regularised return by soft policy iteration (Newton on the soft Bellman equation).

    Above `DENSE_LIMIT` states, policies are evaluated by a few sweeps instead (modified policy iteration, Puterman
    and Shin, 1978), and the iteration is linear.

    Args:
      mdp: dynamics in the dtype of `rewards`.
      rewards: [S, A].
      tau: entropy weight, > 0.
      allowed: bool [S, A], actions the policy may use; all unless given.
      start: values to start from [S]; zero unless given. A close start saves iterations.
    """
    mask = jnp.zeros_like(rewards) if allowed is None else jnp.where(allowed, 0.0, -jnp.inf)
    v0 = jnp.zeros_like(rewards[:, 0]) if start is None else start
    v = _soft_fixed_point(mdp, rewards, jnp.asarray(tau), mask, v0)
    return Response(_soft_policy(mdp, rewards, tau, mask, v), v)


def _soft_policy(mdp: TabularMDP, rewards: jax.Array, tau: Scalar, mask: jax.Array, v: jax.Array) -> jax.Array:
    return jax.nn.softmax(backup(mdp, rewards, v) / tau + mask)


@jax.custom_jvp
def _soft_fixed_point(
    mdp: TabularMDP, rewards: jax.Array, tau: jax.Array, mask: jax.Array, start: jax.Array
) -> jax.Array:
    """Soft-optimal values [S], NaN where they are not reached."""
    is_dense = mdp.num_states <= linear.DENSE_LIMIT
    tolerance = linear.tolerance(rewards.dtype)
    if is_dense:  # quadratic convergence: the step after this change is exact
        tolerance = 0.1 * float(jnp.finfo(rewards.dtype).eps) ** 0.5

    def is_open(carry: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        _, change, iteration = carry
        return (change > tolerance) & (iteration < (MAX_ITERATIONS if is_dense else MAX_SWEEPS))

    def improve(carry: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        v, _, iteration = carry
        pi = _soft_policy(mdp, rewards, tau, mask, v)
        new = soft_value(mdp, rewards, pi, tau) if is_dense else soft_sweeps(mdp, rewards, pi, tau, v)
        return new, jnp.max(jnp.abs(new - v)) / (1 + jnp.max(jnp.abs(new))), iteration + 1

    v, change, _ = jax.lax.while_loop(is_open, improve, (start, jnp.full((), jnp.inf, rewards.dtype), jnp.int32(0)))
    return jnp.where(change <= tolerance, v, jnp.nan)


@_soft_fixed_point.defjvp
def _soft_fixed_point_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[jax.Array, jax.Array]:
    """The derivative of the fixed point, for forward and reverse mode.

    One more evaluation of the policy that is greedy for v gives v again, and its derivative in v is zero there: so its
    derivative in everything else is that of the fixed point. The second pass, whose value is the same, carries the
    curvature that second derivatives need.
    """
    *inputs, start = primals
    v = _soft_fixed_point(*inputs, start)

    def once_more(v: jax.Array, mdp: TabularMDP, rewards: jax.Array, tau: jax.Array, mask: jax.Array) -> jax.Array:
        return soft_value(mdp, rewards, _soft_policy(mdp, rewards, tau, mask, v), tau)

    still = jnp.zeros_like(v)
    _, moved = jax.jvp(once_more, (v, *inputs), (still, *tangents[:-1]))
    _, moved = jax.jvp(once_more, (v, *inputs), (moved, *tangents[:-1]))
    return v, moved
