"""The lower level of completions of prompts: what the policies write, or all that can be written.

An episode is a completion, its reward comes at its end, and tau weighs the exact divergence from the reference, token
by token. In place of a critic stands the mean of the other completions of the same prompt.
"""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from hfac import _checks
from hfac.epochs import check_epochs, clipped, keeping
from hfac.language import problem as _problem
from hfac.language.problem import CompletionProblem, Said, Written
from hfac.lower import Draw, First, Lower
from hfac.sequences.episodes import distinct_pairs
from hfac.types import Key, PyTree, Status, apply_updates, cast

MOST_PROMPTS = 16  # of a step, unless more are asked for
AVERAGING = 0.1  # weight of the newest batch in running averages: they look back over ten steps


class Batch(NamedTuple):
    """Weighted completions of some prompts."""

    written: Written
    weight: jax.Array  # [G, N], sums to one: 1 / (G N), or the probability of each
    peers: jax.Array  # [G, N, N], weights of the prompt's completions beside each, rows sum to one
    features: PyTree  # leaves [G, N, ...]
    score: jax.Array  # [G, N], of the rater
    tau_factor: jax.Array  # [], that the divergence's weight is multiplied by
    log_prob: Any = None  # [G, N, T], under the policy that wrote them, where they are gone over more than once


class Seen(NamedTuple):
    """Completions of a policy, what it says along them, and what pulls weights of that back to its parameters."""

    batch: Batch
    said: Said
    pull: Any  # Said -> (direction,)


class Control(NamedTuple):
    """Keeps the divergence below a bound by the weight of the divergence."""

    tau_factor: jax.Array  # [], >= 1
    pressure: jax.Array  # [], its logarithm where the divergence is at the bound and stays there, >= 0
    divergence: jax.Array  # [], of the last step, nats
    slope: jax.Array  # [], running average of its change in a step


class Rated(NamedTuple):
    """What carries a step's completions into it where the host rates them."""

    control: Control
    written: tuple[Written, ...]  # of every policy
    scores: tuple[jax.Array, ...]  # [G, N] of each


class UnratedError(Exception):
    """A step was begun whose completions nobody has rated yet; whoever parts steps in two takes them from here."""

    def __init__(self, written: tuple[Written, ...]) -> None:
        """Keep what was written, traced as it is."""
        super().__init__("completions are rated on the host, between two parts of a step: use hfac.run or hfac.sweep")
        self.written = written


class Vitals(NamedTuple):
    """Running averages that tell whether a policy still writes like the reference."""

    divergence: jax.Array  # [], nats per token
    distinct: jax.Array  # [], of pairs of neighbours
    first_distinct: jax.Array  # [], of the first batch; 0 before it


def lower(
    problem: CompletionProblem,
    *,
    num_prompts: int | None = None,
    completions: int = 8,
    coupled: bool = True,
    tau_per: Literal["sequence", "token"] = "sequence",
    max_kl: float | None = None,
    epochs: int = 1,
    clip: float = 0.2,
    most_kl_per_token: float | None = None,
    least_distinct: float | None = None,
    every: Any = None,
    num_policies: int = 2,
    dtype: Any = jnp.float32,
) -> Lower:
    """The lower level of a problem over completions: every step draws prompts, and writes afresh from all policies.

    Args:
      problem: over completions; its policies start at the reference.
      num_prompts: of a step, drawn without replacement, the same for all policies, >= 1; 16, or all there are if those
        are fewer.
      completions: of each, by every policy, >= 2.
      coupled: all policies use the same random numbers: the same law for each, a quieter difference.
      tau_per: tau weighs the divergence of a whole completion, or its mean over the tokens that it may have.
      max_kl: the largest mean divergence of a policy, nats per completion: tau is raised above it, > 0.
      epochs: passes of the policies over each draw; x moves in the first. Above 1 the policies ascend a clipped
        surrogate: no single loop any more, >= 1.
      clip: largest change of a token's probability ratio that later passes still reward, in (0, 1).
      most_kl_per_token: mean divergence of the first policy, nats per token, above which it counts as having hacked
        its reward and the run stops, > 0; averaged over some ten steps.
      least_distinct: the same of the share of distinct pairs of neighbouring tokens in a batch, relative to the first
        batch's: below it the run stops, in (0, 1).
      every: all completions there are [Y, T], of a small language: expectations in place of samples.
      num_policies: that are tracked.
      dtype: of rewards, advantages and x.

    Raises:
      ValueError: if an option is out of range.
    """
    check_epochs(epochs, clip)
    num_prompts = _checked(problem, num_prompts, completions, tau_per, max_kl, every)
    limits = _limits(most_kl_per_token, least_distinct)
    is_repeated = epochs > 1
    source = _source(problem, num_prompts, completions, coupled, every, dtype)

    def drawn(key: Key, chains: Control | Rated, *thetas: PyTree) -> Draw:
        written, scores, control = _written(problem, source, key, chains, thetas)
        batches = tuple(
            _batch(problem, source, theta, own, score, control.tau_factor, is_repeated, dtype)
            for theta, own, score in zip(thetas, written, scores, strict=True)
        )
        return Draw(batches, control, jnp.int32(len(thetas) * source.num_samples))

    def see(theta: PyTree, batch: Batch, options: Mapping[str, Any]) -> Seen:
        del options
        said, pull = jax.vjp(lambda theta: problem.policy.say(theta, batch.written), theta)
        return Seen(batch, said, pull)

    def weight_of(seen: Seen, tau: jax.Array | float) -> jax.Array:  # of the divergence of one token
        whole = jnp.asarray(tau, dtype) * seen.batch.tau_factor
        return whole if tau_per == "sequence" else whole / seen.said.divergence.shape[-1]

    def actor(x: PyTree, seen: Seen, advantage: jax.Array, tau: jax.Array, w: jax.Array | None = None) -> PyTree:
        del x, w  # the leader's cost is in the advantage
        if is_repeated:
            advantage = clipped(advantage, (seen.said.log_prob - seen.batch.log_prob).astype(dtype), clip)
        return policy_gradient(seen, advantage, weight_of(seen, tau))

    def watch(vitals: Vitals, seen: Seen) -> tuple[Vitals, jax.Array | None]:
        return (vitals, None) if limits is None else _watched(vitals, seen, limits)

    def leader_advantage(x: PyTree, seen: Seen, u: jax.Array) -> jax.Array:
        del u
        return advantages(seen, *leader_costs(problem, x, seen.batch), 0.0)

    def advantage(x: PyTree, seen: Seen, v: jax.Array, tau: jax.Array) -> jax.Array:
        del v
        gain = problem.reward(x, seen.batch.features)
        return advantages(seen, gain, beside(seen.batch, gain), weight_of(seen, tau))

    def true_advantage(x: PyTree, seen: Seen, v: jax.Array, tau: jax.Array) -> jax.Array:
        del v
        cost, baseline = leader_costs(problem, x, seen.batch)
        return advantages(seen, -cost, -baseline, weight_of(seen, tau))

    return Lower(
        init=functools.partial(_first, problem, dtype),
        draw=keeping(drawn) if is_repeated else drawn,
        see=see,
        advantage=advantage,
        leader_advantage=leader_advantage,
        actor=actor,
        critic=lambda v, seen, advantage: jnp.zeros_like(v),
        hypergradient=functools.partial(hypergradient, problem),
        central_hypergradient=None,
        upper_gradient=lambda x, seen: jax.grad(lambda x: upper_objective(problem, x, seen.batch))(x),
        mean=lambda seen, advantage: jnp.sum(seen.batch.weight[..., None] * advantage),
        look=functools.partial(look, problem),
        watch=watch,
        bounds=lambda schedules: {},
        project=apply_updates,
        true_advantage=true_advantage,
    )


def _checked(
    problem: CompletionProblem,
    num_prompts: int | None,
    completions: int,
    tau_per: str,
    max_kl: float | None,
    every: Any,
) -> int:
    """How many prompts a step draws.

    Raises:
      ValueError: if an option is out of range.
    """
    num_prompts = min(problem.policy.num_prompts, MOST_PROMPTS) if num_prompts is None else num_prompts
    _checks.count("num_prompts", num_prompts)
    _checks.count("completions", completions)
    if completions < 2:
        raise ValueError(f"completions must be at least 2, to be compared with each other, got {completions}")
    if every is None and num_prompts > problem.policy.num_prompts:
        raise ValueError(
            f"num_prompts: {num_prompts} in a step were asked for, and there are {problem.policy.num_prompts}"
        )
    if tau_per not in ("sequence", "token"):
        raise ValueError(f"tau_per must be 'sequence' or 'token', got '{tau_per}'")
    if max_kl is not None:
        _checks.positive("max_kl", max_kl)
    return num_prompts


def _first(problem: CompletionProblem, dtype: Any, key: Key) -> First:
    """All policies begin at the reference."""
    x = cast(problem.init_x(jax.random.fold_in(key, 0)), dtype)
    zero = jnp.zeros((), dtype)
    control = Control(jnp.ones((), dtype), zero, zero, zero)
    return First(x, problem.policy.reference, zero, control, Vitals(zero, zero, zero))


class Limits(NamedTuple):
    """Past either of these, on average over some ten steps, a policy counts as having hacked its reward."""

    max_divergence: float  # KL(pi | pi_ref) per token, nats
    min_distinct: float  # distinct pairs of neighbouring tokens in a batch, relative to the first batch's


def _limits(most_kl_per_token: float | None, least_distinct: float | None) -> Limits | None:
    """What ends a run, or None if nothing does.

    Raises:
      ValueError: if a limit is out of range.
    """
    if most_kl_per_token is not None:
        _checks.positive("most_kl_per_token", most_kl_per_token)
    if least_distinct is not None:
        _checks.number("least_distinct", least_distinct)
        if not 0 < least_distinct < 1:
            raise ValueError(f"least_distinct must lie strictly between 0 and 1, got {least_distinct}")
    if most_kl_per_token is None and least_distinct is None:
        return None
    return Limits(most_kl_per_token or math.inf, least_distinct or 0.0)


class Source(NamedTuple):
    """Where completions come from."""

    write: Callable[..., tuple[Written, ...]]  # (key, *thetas) -> of every policy
    weigh: Callable[[PyTree, Written], tuple[jax.Array, jax.Array]]  # -> weights [G, N], and of peers [G, N, N]
    num_samples: int  # of every policy


def _source(
    problem: CompletionProblem, num_prompts: int, completions: int, coupled: bool, every: Any, dtype: Any
) -> Source:
    """Completions that the policies write, or all there are."""
    if every is not None:
        return _listed(problem, every, dtype)
    return _sampled(problem, num_prompts, completions, coupled, dtype)


def _written(
    problem: CompletionProblem, source: Source, key: Key, chains: Control | Rated, thetas: tuple[PyTree, ...]
) -> tuple[tuple[Written, ...], tuple[jax.Array, ...], Control]:
    """Completions of every policy and their scores: written and rated now, or carried into the step.

    Raises:
      UnratedError: if the host is to rate them.
    """
    if isinstance(chains, Rated):
        return chains.written, chains.scores, chains.control
    written = source.write(key, *thetas)
    if problem.rate is None:
        raise UnratedError(written)
    return written, tuple(jax.lax.stop_gradient(problem.rate(each)) for each in written), chains


def _batch(
    problem: CompletionProblem,
    source: Source,
    theta: PyTree,
    written: Written,
    score: jax.Array,
    tau_factor: jax.Array,
    is_repeated: bool,
    dtype: Any,
) -> Batch:
    """Completions with what R_x sees of them and what the rater says."""
    features = jax.tree.map(lambda leaf: _stopped(leaf, dtype), problem.features(written))
    log_prob = problem.policy.say(theta, written).log_prob if is_repeated else None
    weights = source.weigh(theta, written)
    return Batch(written, *weights, features, score.astype(dtype), tau_factor, log_prob)


def _stopped(leaf: jax.Array, dtype: Any) -> jax.Array:
    """No gradient; numbers that are not whole in one dtype."""
    return jax.lax.stop_gradient(leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf)


def _sampled(problem: CompletionProblem, prompts: int, completions: int, coupled: bool, dtype: Any) -> Source:
    """Completions that the policies write, all of the same prompts."""
    weight = jnp.full((prompts, completions), 1 / (prompts * completions), dtype)
    others = (1 - jnp.eye(completions, dtype=dtype)) / (completions - 1)
    peers = jnp.broadcast_to(others, (prompts, completions, completions))

    def write(key: Key, *thetas: PyTree) -> tuple[Written, ...]:
        every = jnp.arange(problem.policy.num_prompts, dtype=jnp.int32)
        chosen = jax.random.choice(jax.random.fold_in(key, 0), every, (prompts,), replace=False)
        keys = [jax.random.fold_in(key, 1 if coupled else 1 + i) for i in range(len(thetas))]
        return tuple(
            problem.policy.write(own, theta, chosen, completions) for own, theta in zip(keys, thetas, strict=True)
        )

    return Source(write, lambda theta, written: (weight, peers), prompts * completions)


def _listed(problem: CompletionProblem, every: Any, dtype: Any) -> Source:
    """All completions of all prompts with their probabilities: expectations in place of samples."""
    prompts = problem.policy.num_prompts
    tokens = jnp.broadcast_to(jnp.asarray(every), (prompts, *jnp.shape(every)))
    written = problem.policy.listed(jnp.arange(prompts, dtype=jnp.int32), tokens)

    def weigh(theta: PyTree, written: Written) -> tuple[jax.Array, jax.Array]:
        mass = jnp.exp(jnp.sum(problem.policy.say(theta, written).log_prob, -1)).astype(dtype)
        return mass / prompts, jnp.broadcast_to(mass[:, None], (*mass.shape, mass.shape[-1]))

    return Source(lambda key, *thetas: (written,) * len(thetas), weigh, 0)


def upper_objective(problem: CompletionProblem, x: PyTree, batch: Batch) -> jax.Array:
    """Sample of f(x, pi); its gradient in x is one of d_x f. []."""
    value = jnp.zeros((), batch.weight.dtype) if problem.h is None else problem.h(x)
    if problem.leader == "score":
        return value - jnp.sum(batch.weight * batch.score)
    losses = _problem.pair_losses(problem, x, batch.written.prompt, batch.features, batch.score)
    each = jnp.sum(batch.peers * losses, -1) if problem.anchors is None else jnp.mean(losses, -1)
    return value + jnp.sum(batch.weight * each)


def leader_costs(problem: CompletionProblem, x: PyTree, batch: Batch) -> tuple[jax.Array, jax.Array]:
    """What each completion costs the leader, L_i, such that d_theta f = E[ L_i grad log pi(y_i) ], and a baseline.

    A completion counts in both places of a pair: E[ l(y, y') ( grad log pi(y) + grad log pi(y') ) ]. Its baseline is
    the mean cost of the prompt's others, less what they are compared with it for: that would be no baseline.

    Returns:
      Both [G, N].
    """
    if problem.leader == "score":
        return -batch.score, beside(batch, -batch.score)
    losses = _problem.pair_losses(problem, x, batch.written.prompt, batch.features, batch.score)
    if problem.anchors is not None:
        each = jnp.mean(losses, -1)
        return each, beside(batch, each)
    each = 2 * jnp.sum(batch.peers * losses, -1)
    # sum over j, k of q_ij q_ik l_jk, with pairs of one completion with itself left out where samples leave them out
    apart = batch.peers[..., None] * batch.peers[..., None, :] * (batch.peers[:, None] > 0).astype(losses.dtype)
    share = jnp.sum(apart, (-2, -1))
    others = jnp.einsum("gijk,gjk->gi", apart, losses) / jnp.where(share > 0, share, 1)
    return each, 2 * others


def beside(batch: Batch, values: jax.Array) -> jax.Array:
    """Mean over the other completions of the prompt, [G, N]."""
    return jnp.einsum("gij,gj->gi", batch.peers, values)


def advantages(seen: Seen, gain: jax.Array, baseline: jax.Array, tau: jax.Array | float) -> jax.Array:
    """Gain at the end less tau times the divergence from here on, above what the prompt's others get. [G, N, T].

    Args:
      seen: completions of a policy.
      gain: [G, N].
      baseline: of the gain, the same shape.
      tau: weight of one token's divergence.
    """
    price = tau * seen.said.divergence.astype(gain.dtype)
    to_come = jnp.cumsum(price[..., ::-1], -1)[..., ::-1]
    level = baseline - beside(seen.batch, to_come[..., 0])
    return jnp.where(seen.batch.written.is_written, (gain - level)[..., None] - to_come, 0)


def policy_gradient(seen: Seen, advantage: jax.Array, tau: jax.Array) -> PyTree:
    """d_theta J_tau = E[ sum_t A_t grad log pi(y_t|y_<t) - tau grad KL(pi(.|y_<t) | pi_ref) ]. Same tree as theta.

    Args:
      seen: completions of the policy.
      advantage: [G, N, T].
      tau: weight of one token's divergence.
    """
    weight = seen.batch.weight[..., None]
    pulled = Said(weight * advantage, jnp.broadcast_to(-tau * weight, advantage.shape))
    return seen.pull(jax.tree.map(lambda part, like: part.astype(like.dtype), pulled, seen.said))[0]


def hypergradient(problem: CompletionProblem, x: PyTree, seen: Seen, seen_pen: Seen, w: jax.Array) -> PyTree:
    """Hyper-gradient of the penalty reformulation, first order only (Zeng et al. [2601.16399]). Same tree as x.

    d_x f(x, pi_pen) + 1/w ( E_pi[ grad R_x(y) ] - E_pi_pen[ grad R_x(y) ] )
    """

    def envelope(x: PyTree) -> jax.Array:
        gain, gain_pen = (
            jnp.sum(each.batch.weight * problem.reward(x, each.batch.features)) for each in (seen, seen_pen)
        )
        return upper_objective(problem, x, seen_pen.batch) + (gain - gain_pen) / w

    return jax.grad(envelope)(x)


def divergence(seen: Seen) -> jax.Array:
    """Mean KL(pi | pi_ref) of a completion, nats. []."""
    return jnp.sum(seen.batch.weight[..., None] * seen.said.divergence)


def look(problem: CompletionProblem, x: PyTree, *seen: Seen) -> dict[str, jax.Array]:
    """Scalars worth looking at.

    The leader's loss, of the last policy; of each what it earns and how far it is; of the first R_x's accuracy, the
    share of pairs of neighbouring tokens that are distinct, and tokens of a completion.
    """
    first = seen[0].batch
    reward = problem.reward(x, first.features)
    found = {"loss": upper_objective(problem, x, seen[-1].batch), "reward": jnp.sum(first.weight * reward)}
    for i, each in enumerate(seen):
        found[f"score_{i}"] = jnp.sum(each.batch.weight * each.batch.score)
        found[f"divergence_{i}"] = divergence(each)
    found |= {"accuracy": accuracy(reward, first.score), "tau_factor": first.tau_factor}
    return found | {
        "distinct": distinct_pairs(first.written.tokens, first.written.is_written),
        "length": mean_length(first),
    }


def mean_length(batch: Batch) -> jax.Array:
    """Tokens of a completion. []."""
    return jnp.sum(batch.weight[..., None] * batch.written.is_written.astype(batch.weight.dtype))


def accuracy(reward: jax.Array, score: jax.Array) -> jax.Array:
    """Share of pairs within a prompt that R_x orders as the rater does; a tie of R_x is half right. []."""
    order = jnp.sign(score[:, :, None] - score[:, None])
    agreement = order * jnp.sign(reward[:, :, None] - reward[:, None])
    return 0.5 + 0.5 * jnp.sum(agreement) / jnp.maximum(jnp.sum(jnp.abs(order)), 1)


def _watched(old: Vitals, seen: Seen, limits: Limits) -> tuple[Vitals, jax.Array]:
    """The averages after a step, and "reward hacked" if they pass the limits."""
    batch = seen.batch
    per_token = divergence(seen) / jnp.maximum(mean_length(batch), 1)
    distinct = distinct_pairs(batch.written.tokens, batch.written.is_written).astype(old.distinct.dtype)
    is_first = old.first_distinct == 0
    start = jnp.where(is_first, distinct, old.first_distinct)
    before = Vitals(old.divergence, jnp.where(is_first, distinct, old.distinct), start)
    after = Vitals(
        before.divergence + AVERAGING * (per_token.astype(old.divergence.dtype) - before.divergence),
        before.distinct + AVERAGING * (distinct - before.distinct),
        start,
    )
    is_hacked = (after.divergence > limits.max_divergence) | (after.distinct < limits.min_distinct * start)
    return after, jnp.where(is_hacked, jnp.int32(Status.REWARD_HACKED), jnp.int32(Status.OK))
