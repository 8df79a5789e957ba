"""Run-steps per second of a goal-placement sweep, against C running the same step, alternated in one process.

    python -m benchmarks.throughput                              # the table of sizes
    python -m benchmarks.throughput --runs 1024 --json FILE      # one size
    python -m benchmarks.throughput --device gpu --runs 1 1024 65536 262144
    XLA_FLAGS=--xla_gpu_enable_command_buffer=+WHILE python -m benchmarks.throughput --device gpu --runs 1 --chunk 256

Only the median of ratios paired within one run counts. A measurement whose best C time is above 230 ns per step, or
whose C times spread by more than 25 %, was made on a busy machine and is marked invalid.
"""

import dataclasses
import json
import os
import platform
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import tyro

REFERENCE = Path(__file__).with_name("reference.c")
SLOWEST_VALID = 230.0  # ns per C step
LARGEST_SPREAD = 0.25  # of C's times, relative to their smallest
C_RUNS = 16
FLOOR_BYTES = 1_200  # a run-step that moves only touched rows and x, read and written
BANDWIDTH = {"H200": 4.3e12, "H100": 3.0e12}  # bytes/s, measured copies


@dataclasses.dataclass(frozen=True)
class Throughput:
    """What to measure."""

    runs: tuple[int, ...] = (1, 16, 128, 1024, 4096, 16384)
    """Runs side by side."""
    alternations: int = 5
    """C and hfac in turn, this many times."""
    seconds: float = 1.5
    """About how long each measurement of hfac takes."""
    device: Literal["cpu", "gpu"] = "cpu"
    """Where hfac runs; C runs on the CPU."""
    chunk: int | None = None
    """Steps that a GPU does before it asks its host whether to go on; the engine's own number unless given."""
    quality_steps: int = 200_000
    """Steps after which the two programs' Phi_0.003 are compared; 0 skips it."""
    json: Path | None = None
    """File for the numbers."""


def build() -> Path:
    """Compile the C reference with the system's compiler."""
    program = Path(tempfile.mkdtemp()) / "reference"
    subprocess.run(
        ["gcc", "-O3", "-march=native", "-ffast-math", "-o", str(program), str(REFERENCE), "-lm"],
        check=True, timeout=120,
    )  # fmt: skip
    return program


def parameters() -> str:
    """The reference's standard input: goal placement's defaults and the attenuating preset."""
    import hfac

    problem, schedules = hfac.problems.goal_placement(), hfac.schedules.attenuating()
    lines = ["10 0.1 0.95 0.5 0.01"]
    for rate in hfac.schedules.RATES:
        decay = getattr(schedules, rate)
        lines.append(f"{decay.scale} {decay.power} {decay.offset}")
    x = problem.init_x(None)
    utility = [-float(problem.cost(x, s, 0, 0)) for s in range(problem.mdp.num_states)]
    return "\n".join([*lines, " ".join(map(str, utility))])


def run_c(program: Path, text: str, steps: int, seed: int = 0) -> tuple[float, np.ndarray]:
    """One C process on one thread: ns per run-step, and x of its runs."""
    command = [str(program), str(C_RUNS), str(steps), str(seed)]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=True, timeout=600)
    first, *rows = done.stdout.splitlines()
    return float(first), np.array([row.split() for row in rows], float)


def run_c_everywhere(program: Path, text: str, steps: int, cores: int) -> float:
    """C on every core at once: ns per run-step of the machine."""
    with ThreadPoolExecutor(cores) as pool:
        times = list(pool.map(lambda i: run_c(program, text, steps, i)[0], range(cores)))
    return float(np.mean(times)) / cores


class Sweep:
    """hfac's compiled sweep of the same step, advanced by a fixed number of steps at a time."""

    def __init__(self, num_runs: int) -> None:
        """Compile and warm up."""
        import hfac
        from hfac import engine

        problem = hfac.problems.goal_placement()
        algorithm = hfac.algorithms.hfac(problem)
        layout = engine.lay_out(algorithm, hfac.schedules.attenuating(), num_runs)
        self.program, self.runs, self.plan = layout.program, layout.runs, layout.program.plan
        self.num_runs = num_runs
        self.states = self.program.start(self.runs)
        self.advance(100)

    def advance(self, steps: int) -> float:
        """Do steps; returns ns per run-step."""
        import jax

        began = time.perf_counter()
        self.states, _ = jax.block_until_ready(self.program.advance(self.runs, self.states, [steps]))
        return 1e9 * (time.perf_counter() - began) / (steps * self.num_runs)


def measure(config: Throughput, program: Path, text: str, num_runs: int) -> dict:
    """Alternate C and hfac; the median of paired ratios."""
    import jax

    cores = len(os.sched_getaffinity(0))
    sweep = Sweep(num_runs)
    c_steps = 150_000
    steps = max(200, int(config.seconds * 1e9 / (sweep.advance(500) * num_runs)))
    ours, alone, everywhere = [], [], []
    for _ in range(config.alternations):
        alone.append(run_c(program, text, c_steps)[0])
        ours.append(sweep.advance(steps))
        everywhere.append(run_c_everywhere(program, text, c_steps, cores))
    ours, alone, everywhere = (np.array(v) for v in (ours, alone, everywhere))
    spread = float(alone.max() / alone.min() - 1)
    device = jax.devices()[0]
    found = {
        "runs": num_runs,
        "ratio_to_c": float(np.median(alone / ours)),
        "ratio_to_c_all_cores": float(np.median(everywhere / ours)),
        "run_steps_per_second": float(1e9 / np.median(ours)),
        "ns_per_run_step": float(np.median(ours)),
        "c_ns_per_step": float(alone.min()),
        "c_spread": spread,
        "valid": bool(alone.min() <= SLOWEST_VALID and spread <= LARGEST_SPREAD),
        "steps": steps,
        "compile_seconds": sweep.program.compile_seconds,
        "devices": len(sweep.plan.devices),
        "width": sweep.plan.width,
        "device": f"{device.platform} {device.device_kind}",
        "dtype": "float32",
        "load": os.getloadavg()[0],
    }
    for name, bandwidth in BANDWIDTH.items():
        if name in device.device_kind:
            found["fraction_of_bandwidth_floor"] = FLOOR_BYTES / bandwidth * 1e9 / found["ns_per_run_step"]
    return found


def quality(config: Throughput, program: Path, text: str) -> dict:
    """Phi_0.003 of both programs after the same number of steps: a fast wrong answer would show."""
    import jax

    import hfac
    from hfac.statistics import interquartile_mean

    problem = hfac.problems.goal_placement()
    algorithm = hfac.algorithms.hfac(problem)
    steps = config.quality_steps
    with jax.enable_x64(False):
        data = hfac.sweep(algorithm, hfac.schedules.attenuating(), C_RUNS, steps, record_at=[steps])
    with jax.enable_x64(True):
        judge = jax.jit(lambda xs: jax.lax.map(lambda x: hfac.exact.hyper_objective(problem, x, 0.003), xs))
        ours = interquartile_mean(np.asarray(judge(np.asarray(data["x"].values[:, 0], float))))
        theirs = interquartile_mean(np.asarray(judge(run_c(program, text, steps)[1])))
    return {"phi_steps": steps, "phi": float(ours), "c_phi": float(theirs)}


def main(config: Throughput) -> None:
    """Measure every size, print a table, store the numbers."""
    import jax

    if config.device == "cpu":
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", len(os.sched_getaffinity(0)))
    elif jax.default_backend() != "gpu":
        raise SystemExit("benchmarks.throughput: error: --device gpu, but jax sees no GPU")
    if config.chunk is not None:
        from hfac.engine import _program

        _program.CHUNK = config.chunk
    program, text = build(), parameters()
    about = {
        "jax": jax.__version__,
        "python": platform.python_version(),
        "cpu": platform.processor() or platform.machine(),
    }
    print(
        f"{'runs':>7} {'ns/run-step':>12} {'run-steps/s':>12} {'C ns':>7} {'x C':>6} {'x C all':>8} {'spread':>7} valid"
    )
    rows = []
    for num_runs in config.runs:
        row = measure(config, program, text, num_runs) | about
        rows.append(row)
        cells = [f"{num_runs:>7}", f"{row['ns_per_run_step']:>12.2f}", f"{row['run_steps_per_second']:>12.3g}"]
        cells += [f"{row['c_ns_per_step']:>7.1f}", f"{row['ratio_to_c']:>6.2f}", f"{row['ratio_to_c_all_cores']:>8.2f}"]
        print(" ".join([*cells, f"{row['c_spread']:>7.1%}", str(row["valid"])]), flush=True)
    if config.quality_steps:
        same = quality(config, program, text)
        where = f"Phi_0.003 after {same['phi_steps']:,} steps, interquartile mean of {C_RUNS} runs"
        print(f"{where}: {same['phi']:.4f}, C {same['c_phi']:.4f}")
        rows = [row | same for row in rows]
    if config.json is not None:
        config.json.write_text(json.dumps(rows[0] if len(rows) == 1 else rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(tyro.cli(Throughput))
