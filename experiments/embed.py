"""The compiled step inside other people's JAX code: your own scan, your own optimiser's loop, derivatives of a run.

python -m experiments.embed
"""

import dataclasses

import jax
import jax.numpy as jnp
import optax

import hfac
from experiments import shown

jax.config.update("jax_enable_x64", True)  # for the exact objective; the step keeps its own float32


@dataclasses.dataclass(frozen=True)
class Embed:
    """Sizes of the demonstrations."""

    seeds: int = 8
    """Runs side by side."""
    steps: int = 20_000
    """Iterations of every run."""
    rounds: int = 10
    """Rounds of the outer optimiser."""


def own_scan(config: Embed) -> jax.Array:
    """The step in a user's own ``jit(vmap(scan))``: upper variables [seeds, S]."""
    algorithm = hfac.algorithms.hfac(hfac.problems.goal_placement(), coupled=True)
    schedules = hfac.recommended.schedules("goal_placement")

    @jax.jit
    @jax.vmap
    def train(seed):
        key = hfac.run_key(seed)
        state = algorithm.init(jax.random.fold_in(key, 0), schedules)

        def step(state, k):
            return algorithm.step(jax.random.fold_in(jax.random.fold_in(key, 1), k), state, schedules)

        state, _ = jax.lax.scan(step, state, jnp.arange(config.steps))
        return algorithm.solution(state).x

    return train(jnp.arange(config.seeds))


def inside_another_loop(config: Embed) -> list[float]:
    """Hfac inside an outer loop: evolution of the entropy scale, eight runs a round, each continued from its state.

    The runs that do worst take over the state and, perturbed, the schedule of those that do best (population-based
    training); returns the best objective of every round.
    """
    problem = hfac.problems.goal_placement()
    algorithm = hfac.algorithms.hfac(problem, coupled=True)
    base = hfac.recommended.schedules("goal_placement")
    keys = jax.vmap(hfac.run_key)(jnp.arange(8))
    scales = jnp.geomspace(0.003, 0.1, 8)
    judge = jax.jit(lambda xs: jax.lax.map(lambda x: hfac.exact.hyper_objective(problem, x, 0.003), xs))

    def with_entropy(scale):
        return dataclasses.replace(base, entropy=dataclasses.replace(base.entropy, scale=scale))

    @jax.jit
    def continue_runs(scales, states):
        def one(key, scale, state):
            return hfac.run(algorithm, key, with_entropy(scale), config.steps // config.rounds, initial=state)[0]

        return jax.vmap(one)(keys, scales, states)

    states = jax.vmap(lambda key, scale: algorithm.init(key, with_entropy(scale)))(keys, scales)
    best = []
    for r in range(config.rounds):
        states = continue_runs(scales, states)
        worth = judge(states.x)
        order = jnp.argsort(worth)
        best.append(float(worth[order[0]]))
        source = jnp.arange(8).at[order[-2:]].set(order[:2])
        nudge = jnp.ones(8).at[order[-2:]].set(1.25 if r % 2 else 0.8)
        states = jax.tree.map(lambda leaf, source=source: leaf[source], states)
        scales = scales[source] * nudge
    return best


def derivative_of_a_run(steps: int = 200) -> tuple[float, float]:
    """D Phi_tau(x_K) / d(upper scale), by forward mode through a run and by central differences.

    With the exact sampler the run is a smooth function of its schedule. A sampled path's derivative is not the
    derivative of its expectation; do not read it as one.
    """
    problem = hfac.problems.goal_placement(size=4, landmark=(3, 3), hazard_rows=(1, 2), hazard_columns=(1, 2))
    algorithm = hfac.algorithms.hfac(problem, sampler="exact", dtype=jnp.float64)

    @jax.jit
    def final_objective(scale):
        schedules = hfac.schedules.fixed(upper=scale, actor=10.0, critic=1.0, penalty=0.3, entropy=0.3)
        state, _ = hfac.run(algorithm, hfac.run_key(0), schedules, steps, record_at=[steps])
        return hfac.exact.hyper_objective(problem, state.x, 0.3)

    step = 1e-5
    differences = (final_objective(0.1 + step) - final_objective(0.1 - step)) / (2 * step)
    return float(jax.jacfwd(final_objective)(jnp.float64(0.1))), float(differences)


def descend_with_optax(steps: int = 300) -> float:
    """The estimator alone as a gradient for a user's own optax loop; returns the last Phi_0.1.

    The exact policies stand in for whatever tracks them.
    """
    problem = hfac.problems.goal_placement()
    grad = jax.jit(lambda x: hfac.exact.penalty_hypergradient(problem, x, 0.01, 0.1, "central"))
    optimizer = optax.adam(0.1)
    x = problem.init_x(jax.random.key(0))
    moments = optimizer.init(x)
    for _ in range(steps):
        updates, moments = optimizer.update(grad(x), moments)
        x = optax.apply_updates(x, updates)
    return float(hfac.exact.hyper_objective(problem, x, 0.1))


def main(config: Embed) -> None:
    """Run all four and print what they return."""
    x = own_scan(config)
    print(f"own jit(vmap(scan)): {x.shape[0]} runs of {config.steps:,} steps, |x| = {float(jnp.linalg.norm(x[0])):.3f}")
    print("population-based training, best Phi_0.003 by round:", *(f"{v:.3f}" for v in inside_another_loop(config)))
    forward, differences = derivative_of_a_run()
    print(f"d Phi / d(upper scale) through a run: forward mode {forward:.8f}, central differences {differences:.8f}")
    print(f"Adam on the central penalty hyper-gradient: Phi_0.1 = {descend_with_optax():.4f}")


if __name__ == "__main__":
    shown.run(main, Embed)
