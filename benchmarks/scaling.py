"""Time and memory of a run-step against runs, states, actions, batch size and devices, with fitted exponents.

    python -m benchmarks.scaling                       # every axis, two minutes
    python -m benchmarks.scaling --axes states --json FILE

The exponent of an axis is the slope of log time (memory) against log size: 0 is free, 1 is proportional.
"""

import dataclasses
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

Axis = Literal["runs", "states", "actions", "batch", "devices"]


@dataclasses.dataclass(frozen=True)
class Scaling:
    """What to measure."""

    axes: tuple[Axis, ...] = ("runs", "states", "actions", "batch", "devices")
    """Axes, one after another."""
    runs: tuple[int, ...] = (1, 4, 16, 64, 256, 1024, 4096)
    """Runs side by side, goal placement."""
    sizes: tuple[int, ...] = (10, 20, 50, 100)
    """Rows of a reward-shaping grid, 16 runs, sparse upper steps."""
    actions: tuple[int, ...] = (2, 4, 8, 16, 64)
    """Actions of a ring of 64 states, 128 runs."""
    batches: tuple[int, ...] = (1, 4, 16, 64)
    """Chains per policy, goal placement, 16 runs."""
    seconds: float = 0.5
    """About how long each measurement takes; the best of three counts."""
    json: Path | None = None
    """File for the numbers."""


def ring(num_actions: int) -> Any:
    """A ring of 64 states on which action a moves a states ahead; the leader sets a reward per state."""
    import jax.numpy as jnp

    import hfac

    size = 64
    targets = (np.arange(size)[:, None] + np.arange(num_actions)) % size
    mdp = hfac.mdp.from_successors(targets[..., None], np.ones((size, num_actions, 1)), np.full(size, 1 / size), 0.9)

    def reward(x: Any, s: Any, a: Any, s_next: Any) -> Any:
        return x[s_next]

    def reward_grad(x: Any, s: Any, a: Any, s_next: Any) -> Any:
        return hfac.Rows(s_next, jnp.ones((), x.dtype))

    def cost(x: Any, s: Any, a: Any, s_next: Any) -> Any:
        return -(s == 0).astype(x.dtype)

    def cost_grad(x: Any, s: Any, a: Any, s_next: Any) -> Any:
        return hfac.Rows(s, jnp.zeros((), x.dtype))

    functions = {"reward": reward, "reward_grad": reward_grad, "cost": cost, "cost_grad": cost_grad}
    return hfac.Problem(mdp=mdp, init_x=lambda key: jnp.zeros(size), cost_bound=1.0, name="ring", **functions)


def measure(
    seconds: float, problem: Any, num_runs: int, num_devices: int | None = None, **options: Any
) -> dict[str, float]:
    """Best time of three and the bytes that the compiled program holds."""
    import jax

    import hfac
    from hfac import engine

    devices = jax.local_devices()[:num_devices]
    algorithm = hfac.algorithms.hfac(problem, **options)
    layout = engine.lay_out(algorithm, hfac.schedules.attenuating(), num_runs, devices=devices)
    program, runs = layout.program, layout.runs
    states = program.start(runs)
    state_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(states)) / program.plan.num_slots
    states, _ = _advance(program, runs, states, 1)  # compiles
    steps, took = 8, 0.0
    while took < seconds / 2:
        steps *= 2
        states, took = _advance(program, runs, states, steps)
    times = []
    for _ in range(3):
        states, took = _advance(program, runs, states, steps)
        times.append(took)
    return {
        "ns_per_run_step": 1e9 * min(times) / steps / num_runs,
        "state_bytes_per_run": state_bytes,
        "program_bytes_per_run": program.peak_bytes / program.plan.num_slots,
        "compile_seconds": program.compile_seconds,
    }


def _advance(program: Any, runs: Any, states: Any, steps: int) -> tuple[Any, float]:
    import jax

    began = time.perf_counter()
    states, _ = jax.block_until_ready(program.advance(runs, states, [steps]))
    return states, time.perf_counter() - began


def cases(config: Scaling, axis: Axis) -> list[tuple[int, Callable[[], dict[str, float]]]]:
    """The sizes along an axis, each with its measurement."""
    import jax

    import hfac

    goal, shaping = hfac.problems.goal_placement, hfac.problems.reward_shaping
    of = config.seconds
    return {
        "runs": [(n, lambda n=n: measure(of, goal(), n)) for n in config.runs],
        "states": [(n * n, lambda n=n: measure(of, shaping(n, regularization=0.0), 16)) for n in config.sizes],
        "actions": [(n, lambda n=n: measure(of, ring(n), 128)) for n in config.actions],
        "batch": [(n, lambda n=n: measure(of, goal(), 16, batch_size=n)) for n in config.batches],
        "devices": [
            (n, lambda n=n: measure(of, goal(), 128 * jax.local_device_count(), n))
            for n in range(1, jax.local_device_count() + 1)
        ],
    }[axis]


def exponent(sizes: list[int], values: list[float]) -> float:
    """Slope of log values against log sizes; NaN for a single size."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0]) if len(set(sizes)) > 1 else float("nan")


def main(config: Scaling) -> None:
    """Measure every axis, print its table, store the numbers."""
    import jax

    jax.config.update("jax_num_cpu_devices", len(os.sched_getaffinity(0)))
    found: dict[str, Any] = {"jax": jax.__version__, "load": os.getloadavg()[0]}
    print(f"{'axis':>8} {'size':>6} {'ns/run-step':>12} {'state B/run':>12} {'program B/run':>14} {'compile s':>10}")
    for axis in config.axes:
        rows = []
        for size, run in cases(config, axis):
            row = {"size": size} | run()
            rows.append(row)
            numbers = f"{row['ns_per_run_step']:>12.1f} {row['state_bytes_per_run']:>12.0f}"
            held = f"{row['program_bytes_per_run']:>14.0f} {row['compile_seconds']:>10.1f}"
            print(f"{axis:>8} {size:>6} {numbers} {held}", flush=True)
        sizes = [row["size"] for row in rows]
        slopes = {name: exponent(sizes, [row[name] for row in rows]) for name in rows[0] if name.endswith("_per_run")}
        slopes["ns_per_run_step"] = exponent(sizes, [row["ns_per_run_step"] for row in rows])
        found[axis] = {"rows": rows, "exponents": slopes}
        words = f"time {slopes['ns_per_run_step']:.2f}, memory {slopes['program_bytes_per_run']:.2f}"
        print(f"{axis:>8} exponents: {words}", flush=True)
    if config.json is not None:
        config.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(tyro.cli(Scaling))
