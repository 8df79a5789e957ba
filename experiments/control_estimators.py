"""Ways to sample the direction of x in an environment, against exact values on a chain of six states.

    python -m experiments.control_estimators --out runs/control_estimators    # some two minutes on two cores

Both policies are frozen: the soft-optimal one and the penalised one. A stream is the steps of one of them.
"""

import dataclasses
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import hfac
from experiments import page, shown
from experiments.goal_placement import write_csv
from experiments.random_mdp import show, write_study
from hfac import control, pages
from hfac.runs import waiting

NUM_STATES, GAMMA, SLIP, TAU = 6, 0.9, 0.1, 0.3
WAYS = {
    "coupled restarts": ("restarts", True),
    "independent restarts": ("restarts", False),
    "coupled pairs": ("paired", True),
    "independent pairs": ("paired", False),
}
PENALTIES = (0.3, 0.1, 0.03, 0.01)
BURN_IN = 50  # draws before chains are where they stay


@dataclasses.dataclass(frozen=True)
class Study:
    """What to sample."""

    out: Path = Path("runs/control_estimators")
    """Folder to write to; must not exist."""
    draws: int = 2_000
    """Draws of each way, >= 2."""
    num_envs: int = 64
    """Copies of the environment for each policy."""
    num_steps: int = 32
    """Steps of each copy in a draw."""
    penalty: float = 0.1
    """Weight w of the penalty, > 0."""
    seed: int = 0
    """Of everything random."""


def main(study: Study) -> None:
    """Sample every way, set it beside the exact direction; write tables, page and what it took."""
    jax.config.update("jax_enable_x64", True)
    if study.draws < 2 or not study.penalty > 0:
        raise SystemExit(f"--draws must be >= 2 and --penalty > 0, got {study.draws} and {study.penalty:g}")
    study.out.mkdir(parents=True, exist_ok=False)
    began = time.perf_counter()
    problem = chain()
    x = jnp.asarray(np.random.default_rng(3).normal(size=(NUM_STATES, 2)))
    table = []
    for name, (starts, coupled) in WAYS.items():
        with waiting(f"sampling {name}"):
            table.append({"way": name} | measured(study, problem, x, starts, coupled))
    bias = penalties(problem, x)
    write_csv(study.out / "table.csv", table)
    write_csv(study.out / "penalty.csv", bias)
    headline = (
        f"Directions of x by {study.draws:,} draws of {study.num_envs} x {study.num_steps} steps, beside exact ones."
    )
    parts = {
        "Sampled directions": [pages.printed(f"At w = {study.penalty:g}", table)],
        "The penalty itself": [pages.printed("Exact direction at w, beside the gradient of Phi", bias)],
    }
    page.write(pages.study("control_estimators", headline, parts, page.origin("control_estimators", study)), study)
    write_study("control_estimators", study, time.perf_counter() - began)
    show(table)
    show(bias)
    print(f"written to {study.out}/ in {time.perf_counter() - began:.0f} s")


def chain() -> hfac.Problem:
    """Six states in a row, steps to the left and right that slip; the leader likes the right end, x pays actions."""
    cells = np.arange(NUM_STATES)
    moves = np.stack([np.maximum(cells - 1, 0), np.minimum(cells + 1, NUM_STATES - 1)], 1)
    next_states = np.stack([moves, moves[:, ::-1]], -1)
    probs = np.broadcast_to([1 - SLIP, SLIP], next_states.shape)
    start = np.eye(NUM_STATES)[2]

    def cost(x: jax.Array, s: jax.Array, a: jax.Array, s_next: jax.Array) -> jax.Array:
        return 0.1 * x[s, a] - (s_next == NUM_STATES - 1).astype(x.dtype)

    return hfac.Problem(
        mdp=hfac.mdp.from_successors(next_states, probs, start, GAMMA),
        reward=lambda x, s, a, s_next: jnp.tanh(x[s, a]),
        init_x=lambda key: jnp.zeros((NUM_STATES, 2)),
        cost=cost,
        reward_bound=1.0,
        name="chain",
    )


def policies(problem: hfac.Problem, x: jax.Array, w: float) -> tuple[jax.Array, ...]:
    """Logarithms of the soft-optimal and of the penalised policy, [S, A] each."""
    return tuple(jnp.log(pi) for pi in hfac.exact.penalty_response(problem, x, w, TAU))


def measured(study: Study, problem: hfac.Problem, x: jax.Array, starts: Any, coupled: bool) -> dict[str, str]:
    """One way's mean over draws beside the exact direction, and the noise of a single draw."""
    linear = control.linear
    walked = control.tabular(problem, "one_hot", actor=linear(2), critic=linear(1))
    lower = walked.lower(
        num_envs=study.num_envs, num_steps=study.num_steps, starts=starts, coupled=coupled, dtype=jnp.float64
    )
    w = jnp.asarray(study.penalty)
    thetas = policies(problem, x, study.penalty)

    @jax.jit
    def run(key: jax.Array) -> jax.Array:
        def one(chains: Any, key: jax.Array) -> tuple[Any, jax.Array]:
            batches, chains, _ = lower.draw(key, chains, *thetas)
            seen = [lower.see(theta, batch, {}) for theta, batch in zip(thetas, batches, strict=True)]
            return chains, lower.hypergradient(x, *seen, w)

        first = lower.init(jax.random.fold_in(key, 0)).chains
        return jax.lax.scan(one, first, jax.random.split(key, study.draws + BURN_IN))[1]

    found = np.asarray(run(jax.random.key(study.seed)))[BURN_IN:].reshape(study.draws, -1)
    truth = np.ravel(hfac.exact.penalty_hypergradient(problem, x, w, TAU))
    gradient = np.ravel(hfac.exact.hypergradient(problem, x, TAU))
    mean, deviation = found.mean(0), found.std(0, ddof=1)
    error = deviation / np.sqrt(study.draws)
    return {
        "largest z": f"{np.max(np.abs(mean - truth) / error):.2f}",
        "relative error": f"{np.linalg.norm(mean - truth) / np.linalg.norm(truth):.4f}",
        "cosine with grad Phi": f"{mean @ gradient / np.linalg.norm(mean) / np.linalg.norm(gradient):.4f}",
        "noise of a draw / size": f"{np.linalg.norm(deviation) / np.linalg.norm(truth):.2f}",
        "steps a stream": f"{study.draws * study.num_envs * study.num_steps:,}",
    }


def penalties(problem: hfac.Problem, x: jax.Array) -> list[dict[str, str]]:
    """How far the exact penalty direction is from the gradient of Phi, by w."""
    gradient = np.ravel(hfac.exact.hypergradient(problem, x, TAU))
    found = []
    for w in PENALTIES:
        at_w = np.ravel(hfac.exact.penalty_hypergradient(problem, x, w, TAU))
        distance = np.linalg.norm(at_w - gradient) / np.linalg.norm(gradient)
        found.append({"w": f"{w:g}", "relative distance from grad Phi": f"{distance:.4f}"})
    return found


if __name__ == "__main__":
    shown.run(main, Study)
