"""Two peers' computations as hfac runs them, beside the times of the peers' released codes.

    python -m benchmarks.peers
    python -m benchmarks.peers --json FILE

One outer iteration each: M-SoBiRL (Yang et al., AISTATS 2025) on its synthetic problem at two sizes, and HPGD (Thoma
et al., NeurIPS 2024) on four rooms with about 10,000 transitions; one run alone, and several side by side in one
program, per run. hfac is timed here, after compilation; the released codes are constants, measured elsewhere.

The methods are the same, so what a ratio shows is how they are computed. The released M-SoBiRL assembles rewards and
their gradients in Python, one automatic derivative per state over a graph of S A numbers: compiled and vectorised over
states and actions, that cost goes away. The released HPGD is compiled already; there the ratio is one of shape and of
algebra: hundreds of episodes side by side and not five long sequences, a warm-started Newton solve and not 500 sweeps
from zero, weights for each transition and not forward Jacobians with 105 columns, four successors of a cell, not 104.
"""

import dataclasses
import json
import platform
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tyro


class Peer(NamedTuple):
    """A released code's time."""

    code: str
    ms_per_iteration: tuple[float, float]  # of one run, smallest and largest


# Two virtual cores of an AMD EPYC shared with other work, no GPU: read times as +-30 %. M-SoBiRL: torch 2.13 on the
# CPU, one thread, float64, medians (30.3 on a second run). HPGD: jax 0.4.21 on the CPU, float32, compilation left out;
# 10,000 transitions per iteration, 53,000 to 75,000 per second.
PEERS = {
    "m_sobirl S=10 A=5": Peer("SoBiRL at 62a4c85", (30.3, 33.4)),
    "m_sobirl S=100 A=10": Peer("SoBiRL at 62a4c85", (9_860.0, 9_860.0)),
    "hpgd four_rooms": Peer("HPGD at 89f3644", (134.0, 188.0)),
}
ORIGIN = """\
released: M-SoBiRL in torch on one CPU thread, float64; HPGD in jax 0.4.21 on two CPU cores, float32, 10,000 samples
per iteration, 53,000 to 75,000 per second. Timed on two shared virtual cores: ratios are orders of magnitude.
M-SoBiRL's ratio is Python loops against a compiled, vectorised step; HPGD's, where both are compiled, is wide batches
of short episodes, a warm-started Newton solve, reverse mode and sparse successors."""
PUBLISHED_STEP = {"m_sobirl": 8e-3, "hpgd": 0.1}


@dataclasses.dataclass(frozen=True)
class Peers:
    """What to measure."""

    runs: int = 64
    """Runs side by side, beside one alone."""
    seconds: float = 1.0
    """About how long each measurement takes."""
    repeats: int = 5
    """Measurements; their median counts."""
    sizes: tuple[tuple[int, int], ...] = ((10, 5), (100, 10))
    """States and actions of M-SoBiRL's problem."""
    episodes: int = 240
    """Of HPGD for each iteration; one of four rooms has about 40 transitions at the start."""
    horizon: int = 200
    """Steps after which HPGD's episodes are cut, as in the released code."""
    json: Path | None = None
    """File for the numbers."""


def cases(config: Peers) -> dict[str, tuple[Any, Any]]:
    """Algorithm and schedules of every row; dtypes are those of the released codes."""
    import jax.numpy as jnp

    import hfac

    def rates(method: str, tau: float) -> Any:
        return hfac.schedules.fixed(upper=PUBLISHED_STEP[method], entropy=tau, upper_power=0.0)

    found = {}
    for num_states, num_actions in config.sizes:
        problem = hfac.problems.random_mdp(num_states, num_actions)
        algorithm = hfac.algorithms.m_sobirl(problem, dtype=jnp.float64)
        found[f"m_sobirl S={num_states} A={num_actions}"] = (algorithm, rates("m_sobirl", 1.0))
    rooms = hfac.problems.four_rooms(beta=3.0)
    algorithm = hfac.algorithms.hpgd(rooms, num_episodes=config.episodes, horizon=config.horizon)
    found["hpgd four_rooms"] = (algorithm, rates("hpgd", 0.003))
    return found


class Iterations:
    """A method's compiled sweep, advanced by a number of iterations at a time."""

    def __init__(self, algorithm: Any, schedules: Any, num_runs: int) -> None:
        """Compile and warm up."""
        from hfac import engine

        layout = engine.lay_out(algorithm, schedules, num_runs)
        self.program, self.runs, self.num_runs = layout.program, layout.runs, num_runs
        self.states = self.program.start(self.runs)
        self.samples = 0.0  # transitions of one run's iteration
        self.advance(1)

    def advance(self, steps: int) -> float:
        """Do iterations; returns ms per iteration of one run."""
        import jax

        began = time.perf_counter()
        self.states, history = jax.block_until_ready(self.program.advance(self.runs, self.states, [steps]))
        taken = 1e3 * (time.perf_counter() - began) / (steps * self.num_runs)
        self.samples = float(np.sum(history.num_samples)) / (steps * self.num_runs)
        return taken

    def measure(self, seconds: float, repeats: int) -> float:
        """Median ms per iteration of one run."""
        steps = max(1, int(1e3 * seconds / (self.advance(2) * self.num_runs)))
        return float(np.median([self.advance(steps) for _ in range(repeats)]))

    def is_healthy(self) -> bool:
        """Whether no run has diverged."""
        return bool(np.all(np.asarray(self.states.status) == 0))


def measure(name: str, algorithm: Any, schedules: Any, config: Peers) -> dict:
    """One row: a run alone and several side by side, beside the released code."""
    alone = Iterations(algorithm, schedules, 1)
    together = Iterations(algorithm, schedules, config.runs)
    row = {
        "case": name,
        "runs": config.runs,
        "ms_alone": alone.measure(config.seconds, config.repeats),
        "ms_together": together.measure(config.seconds, config.repeats),
        "samples_per_iteration": alone.samples,
        "compile_seconds": alone.program.compile_seconds,
        "is_healthy": alone.is_healthy() and together.is_healthy(),
    }
    row["samples_per_second"] = 1e3 * row["samples_per_iteration"] / row["ms_alone"]
    if name in PEERS:
        low, high = PEERS[name].ms_per_iteration
        row |= {"released": PEERS[name].code, "released_ms": [low, high]}
        row |= {"ratio_alone": low / row["ms_alone"], "ratio_together": low / row["ms_together"]}
    return row


def show(row: dict) -> str:
    """A row of the printed table; ratios are to the released code's smallest time."""
    cells = [f"{row['case']:<20}", f"{row['ms_alone']:>10.4g}", f"{row['ms_together']:>10.4g}"]
    low, high = row.get("released_ms", (np.nan, np.nan))
    cells += [f"{low:g}" if low == high else f"{low:g}-{high:g}"]
    cells[-1] = f"{cells[-1]:>10}"
    cells += [f"{row.get('ratio_alone', np.nan):>9,.3g}", f"{row.get('ratio_together', np.nan):>11,.3g}"]
    return " ".join([*cells, f"{row['samples_per_iteration']:>9,.0f}", f"{row['samples_per_second']:>10,.3g}"])


def main(config: Peers) -> None:
    """Measure every case, print a table, store the numbers."""
    import jax

    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_x64", True)
    side = f"of {config.runs}"
    heads = f"{'ms / iteration':<20} {'alone':>10} {side:>10} {'released':>10} {'ratio':>9} {'ratio ' + side:>11}"
    print(f"{heads} {'samples':>9} {'samples/s':>10}")
    rows = []
    for name, (algorithm, schedules) in cases(config).items():
        rows.append(measure(name, algorithm, schedules, config) | {"jax": jax.__version__})
        print(show(rows[-1]) + ("" if rows[-1]["is_healthy"] else "  (diverged)"), flush=True)
    print(ORIGIN)
    if config.json is not None:
        about = {"cpu": platform.processor() or platform.machine(), "python": platform.python_version()}
        config.json.write_text(json.dumps([row | about for row in rows], indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(tyro.cli(Peers))
