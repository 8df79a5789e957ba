"""Four rooms, every cell of the published table: what a schedule of the entropy weight is worth.

    python -m experiments.four_rooms --out runs/four_rooms_study

Nine cells, entropy weight lambda x weight beta of the incentives handed out. Per cell: the published means of HPGD,
AMD and a zero-order method (Thoma et al. [arXiv 2406.01575]); gradient ascent on the exact objective as they set it up;
exact ascent along a falling lambda, and the same work at a fixed one; HFAC. All are judged by the exact objective
F = -Phi_lambda, which is maximised.
"""

import csv
import dataclasses
import functools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import hfac
from experiments import page, shown
from hfac import pages
from hfac.schedules import FIELDS, PowerDecay, Schedules

LAMBDAS, BETAS = (0.001, 0.003, 0.005), (1.0, 3.0, 5.0)
PEERS = ("HPGD", "AMD", "zero-order")
PUBLISHED = {  # (lambda, beta) -> mean and standard error over 10 seeds, in the order of PEERS
    (0.001, 1.0): ((0.91, 0.088), (0.58, 0.000), (0.59, 0.059)),
    (0.001, 3.0): ((0.51, 0.006), (0.51, 0.000), (0.50, 0.005)),
    (0.001, 5.0): ((0.46, 0.006), (0.46, 0.003), (0.46, 0.007)),
    (0.003, 1.0): ((0.95, 0.002), (1.00, 0.000), (0.91, 0.048)),
    (0.003, 3.0): ((0.73, 0.001), (0.39, 0.000), (0.40, 0.028)),
    (0.003, 5.0): ((0.29, 0.003), (0.32, 0.000), (0.32, 0.002)),
    (0.005, 1.0): ((1.17, 0.011), (1.28, 0.003), (1.15, 0.026)),
    (0.005, 3.0): ((1.01, 0.002), (1.13, 0.004), (1.02, 0.027)),
    (0.005, 5.0): ((0.87, 0.003), (0.97, 0.009), (0.79, 0.027)),
}
REFERENCE_RATE, REFERENCE_STEPS, REFERENCE_TAIL = 0.5, 10_000, 1_000
CONTINUATION = (  # lambda (None: the cell's own), Adam's rate, steps
    (0.02, 0.05, 250),
    (0.01, 0.05, 250),
    (None, 0.05, 250),
    (None, 0.02, 200),
)


class Stage(NamedTuple):
    """A stretch of HFAC along which tau falls; None stands for the cell's lambda."""

    tau: float | None  # at its start
    tau_end: float | None
    pace: float  # Adam's rate on x, in units of tau
    steps: int


# Every rate is a multiple of tau: the policies answer to a change of x, and to an error of a critic, with change / tau.
WAIT = 1e-6  # the pace at which x stands still until the policies have answered to it
STAGES = (  # found on seeds 1000 to 1002
    Stage(0.02, 0.02, WAIT, 300),
    Stage(0.02, 0.02, 1.0, 600),
    Stage(0.01, 0.01, 2.0, 600),
    Stage(0.01, None, 2.0, 2_000),
    Stage(None, None, 2.0, 2_500),
    Stage(None, None, 0.7, 500),
)
ACTOR = 0.1  # Adam's rate on the policies' logits
CRITIC_OVER_TAU, PENALTY_OVER_TAU = 0.5, 0.3
REACHED = 0.6  # share of a stage after which tau has come to its end


@dataclasses.dataclass(frozen=True)
class Study:
    """Which columns to compute."""

    out: Path = Path("runs/four_rooms_study")
    """Folder to write to; must not exist."""
    reference: bool = True
    """Exact gradient ascent set up as published."""
    annealed: bool = True
    """Exact ascent along a falling lambda, and at a fixed one."""
    hfac: bool = True
    """HFAC with expectations instead of samples."""
    seeds: int = 10
    """Of HFAC."""
    first_seed: int = 0
    """Of HFAC."""
    exact_seed: int = 0
    """Of the exact columns."""
    betas: tuple[float, ...] = BETAS
    """Rows of the table to compute."""
    shorten: int = 1
    """Divide every number of steps by this: a rehearsal."""


def shortened(study: Study, steps: int) -> int:
    """Steps to do in place of `steps`."""
    return max(10, steps // study.shorten)


def at_rates(entropy: float, upper: float) -> Schedules:
    """Constant schedules of a method that uses no others."""
    unused = PowerDecay(1.0)
    return Schedules(PowerDecay(upper), unused, unused, unused, PowerDecay(entropy))


def exact_record(state: Any, info: Any, schedules: Any) -> dict[str, Any]:
    """The objective at the x before, and the run's health."""
    del schedules
    return {"value": info.hyper_objective, "status": state.status, "failed_at": state.failed_at}


def ascend(algorithm: Any, stages: list[tuple[list[float], float, int]], seed: int, record_at: Any = None) -> Any:
    """Exact ascent, one run per lambda and one sweep per stage; every stage starts afresh from the last x.

    Returns:
      x at the end, [lambdas, 105], and F at the x before every recorded step of the last stage, [lambdas, points].
    """
    x, values = None, None
    for taus, rate, steps in stages:
        grid = hfac.schedules.grid(at_rates(taus[0], rate), {"entropy.scale": taus})
        data, states = shown.sweep(
            "exact ascents",
            algorithm,
            grid,
            [seed],
            steps,
            exact_record,
            record_at or [steps],
            initial=x,
            return_state=True,
        )
        x = states.x
        values = -data["value"].transpose("entropy.scale", "seed", "step").values[:, 0]
    return x, values


def judge(beta: float, x: Any, taus: Any) -> np.ndarray:
    """F of every x [n, 105] at its own lambda [n]."""
    problem = hfac.problems.four_rooms(beta=beta)
    one = jax.jit(jax.vmap(lambda x, tau: hfac.exact.hyper_objective(problem, x, tau)))
    return -np.asarray(one(jnp.asarray(x, jnp.float64), jnp.asarray(taus, jnp.float64)))


def reference_column(study: Study, beta: float) -> np.ndarray:
    """Mean F over the last tenth of a clipped gradient ascent, every tenth step. [lambdas, 1]."""
    problem = hfac.problems.four_rooms(beta=beta)
    clipped = optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(1.0))
    algorithm = hfac.algorithms.exact_gradient(problem, optimizers={"x": clipped}, dtype=jnp.float64)
    steps, tail = shortened(study, REFERENCE_STEPS), shortened(study, REFERENCE_TAIL)
    every = list(range(steps - tail + 10, steps + 1, 10))
    _, values = ascend(algorithm, [(list(LAMBDAS), REFERENCE_RATE, steps)], study.exact_seed, every)
    return values.mean(-1, keepdims=True)


def continuation_column(study: Study, beta: float, is_annealed: bool) -> np.ndarray:
    """F at the end of exact ascent along the continuation, or by the same work at a fixed lambda. [lambdas, 1]."""
    problem = hfac.problems.four_rooms(beta=beta)
    algorithm = hfac.algorithms.exact_gradient(problem, optimizers={"x": optax.adam(1.0)}, dtype=jnp.float64)
    own = list(LAMBDAS)
    stages = [
        ([tau] * len(own) if tau is not None and is_annealed else own, rate, shortened(study, steps))
        for tau, rate, steps in CONTINUATION
    ]
    x, _ = ascend(algorithm, stages, study.exact_seed)
    return judge(beta, x, own)[:, None]


def tracking_adam() -> optax.GradientTransformation:
    """Adam with a short memory: it evens out how often states are visited and follows a moving target."""
    return optax.adam(1.0, b1=0.5, b2=0.95, eps=1e-15)


def hfac_column(study: Study, beta: float) -> np.ndarray:
    """F at the end of HFAC, expectations instead of samples, tau attenuated in stages. [lambdas, seeds]."""
    problem = hfac.problems.four_rooms(beta=beta)
    tracked = ("theta", "theta_pen", "value", "value_pen", "leader_value", "leader_value_neg")
    optimizers = {name: tracking_adam() for name in tracked} | {"x": optax.adam(1.0)}
    algorithm = hfac.algorithms.hfac(problem, sampler="exact", difference="central", optimizers=optimizers)
    seeds = range(study.first_seed, study.first_seed + study.seeds)
    states: Any = None
    for stage in STAGES:
        steps = shortened(study, stage.steps)
        if states is not None:  # the next stage counts its steps afresh, and so does Adam on x
            moments = states.optimizers | {"x": jax.vmap(optimizers["x"].init)(states.x)}
            states = states._replace(step=jnp.zeros_like(states.step), optimizers=moments)
        data, states = shown.sweep(
            "HFAC",
            algorithm,
            stage_grid(stage, steps),
            seeds,
            steps,
            record_at=[steps],
            initial=states,
            return_state=True,
        )
    is_healthy = data["status"].isel(step=-1).transpose("entropy.scale", "seed").values == hfac.Status.OK
    values = judge(beta, states.x, np.repeat(LAMBDAS, study.seeds)).reshape(len(LAMBDAS), study.seeds)
    return np.where(is_healthy, values, np.nan)


def stage_grid(stage: Stage, steps: int) -> Any:
    """Schedules of a stage, one for each lambda."""
    multiples = {"entropy": 1.0, "penalty": PENALTY_OVER_TAU, "critic": CRITIC_OVER_TAU, "upper": stage.pace}
    rows = []
    for own in LAMBDAS:
        tau, end = (own if tau is None else tau for tau in (stage.tau, stage.tau_end))
        power, offset = (2.0, REACHED * steps / (np.sqrt(tau / end) - 1)) if tau > end else (0.0, 1.0)
        rows.append(tuple(n for m in multiples.values() for n in (m * tau, power, offset, m * end)))
    names = tuple(f"{rate}.{field}" for rate in multiples for field in FIELDS)
    unset = PowerDecay(1.0)
    return hfac.schedules.grid(Schedules(unset, PowerDecay(ACTOR), unset, unset, unset), {names: rows})


def expense(study: Study) -> dict[str, str]:
    """What a run of every column uses: samples are environment transitions."""
    planned = {
        "exact, as published": shortened(study, REFERENCE_STEPS),
        "exact, annealed": sum(shortened(study, steps) for _, _, steps in CONTINUATION),
        "exact, fixed": sum(shortened(study, steps) for _, _, steps in CONTINUATION),
        "HFAC": sum(shortened(study, stage.steps) for stage in STAGES),
    }
    peers = {"HPGD": "model and 1e8 samples, 10,000 steps"}
    peers |= dict.fromkeys(PEERS[1:], "model, no samples, 10,000 steps")
    return peers | {name: f"model, no samples, {steps:,} steps" for name, steps in planned.items()}


COLUMNS: dict[str, Callable[[Study, float], np.ndarray]] = {  # F, [lambdas, seeds]
    "exact, as published": reference_column,
    "exact, annealed": functools.partial(continuation_column, is_annealed=True),
    "exact, fixed": functools.partial(continuation_column, is_annealed=False),
    "HFAC": hfac_column,
}


def main(study: Study) -> None:
    """Compute the columns, then write table and figure."""
    jax.config.update("jax_num_cpu_devices", hfac.engine.num_cores())
    jax.config.update("jax_enable_x64", True)
    study.out.mkdir(parents=True, exist_ok=False)
    began = time.perf_counter()
    wanted = [study.hfac, study.annealed, study.annealed, study.reference]
    names = [name for name, is_wanted in zip(reversed(COLUMNS), wanted, strict=True) if is_wanted]
    cells: list[dict[str, Any]] = []
    for name in names:
        for beta in study.betas:
            start = time.perf_counter()
            values = COLUMNS[name](study, beta)
            seconds = time.perf_counter() - start
            cells += [
                {
                    "column": name,
                    "lambda": tau,
                    "beta": beta,
                    "values": list(map(float, row)),
                    "seconds": seconds / len(LAMBDAS),
                }
                for tau, row in zip(LAMBDAS, values, strict=True)
            ]
            means = " ".join(f"{value:.3f}" for value in values.mean(-1))
            print(f"{name}, beta {beta:g}: {means} at lambda {LAMBDAS}, {seconds:.0f} s", flush=True)
            (study.out / "cells.json").write_text(json.dumps(cells, indent=1))
    write_table(study, cells)
    draw(study, cells)
    write_page(study, cells)
    print(f"written to {study.out}/ in {time.perf_counter() - began:.0f} s")


def write_table(study: Study, cells: list[dict[str, Any]]) -> None:
    """One row per cell: mean, standard error where there are several runs, and worst run; printed and stored."""
    rows = []
    for (tau, beta), published in PUBLISHED.items():
        if beta not in study.betas:
            continue
        row = {"lambda": f"{tau:g}", "beta": f"{beta:g}"}
        row |= {peer: f"{mean:.2f} +- {error:.3f}" for peer, (mean, error) in zip(PEERS, published, strict=True)}
        for name in COLUMNS:
            found = [cell for cell in cells if (cell["column"], cell["lambda"], cell["beta"]) == (name, tau, beta)]
            for cell in found:
                values = np.array(cell["values"])
                row[name] = f"{values.mean():.3f}"
                if len(values) > 1:
                    row[name] += f" +- {standard_error(values):.3f}"
                    row[f"{name}, worst"] = f"{values.min():.3f}"
                row[f"{name}, s"] = f"{cell['seconds']:.0f}"
        rows.append(row)
    with (study.out / "table.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    shown = [name for name in rows[0] if not name.endswith(", s")]
    uses = {name: what for name, what in expense(study).items() if name in shown}
    (study.out / "expense.json").write_text(json.dumps(uses, indent=2) + "\n", encoding="utf-8")
    print("\n".join(f"{name}: {what}" for name, what in uses.items()))
    print("F, mean +- standard error; the exact columns are single runs")
    for row in [dict(zip(shown, shown, strict=True)), *rows]:
        print("  ".join(row[name].rjust(max(len(name), len(rows[0][name]))) for name in shown))


def standard_error(values: np.ndarray) -> float:
    """Of the mean, with the published table's convention (ddof 0)."""
    return float(values.std() / np.sqrt(len(values)))


def draw(study: Study, cells: list[dict[str, Any]]) -> None:
    """One panel per lambda: published means with error bars, and ours."""
    import matplotlib

    matplotlib.use("Agg")
    from hfac import plots

    shown = [*PEERS, *(name for name in COLUMNS if any(cell["column"] == name for cell in cells))]
    with plots.styled():
        figure, axes = plots.subplots(1, len(LAMBDAS), (plots.WIDTH * 1.2, 2.9), sharey=True)
        for axis, tau in zip(axes, LAMBDAS, strict=True):
            for i, (name, color) in enumerate(zip(shown, plots.COLORS, strict=False)):
                bars = [(beta, *mean_and_error(name, tau, beta, cells)) for beta in study.betas]
                places = np.arange(len(bars)) + (i - (len(shown) - 1) / 2) * 0.8 / len(shown)
                _, heights, errors = (np.array(part) for part in zip(*bars, strict=True))
                axis.bar(places, heights, 0.8 / len(shown), yerr=errors, color=color, label=name, error_kw={"lw": 0.8})
            axis.set_xticks(range(len(study.betas)), [f"{beta:g}" for beta in study.betas])
            axis.set(xlabel=r"$\beta$", title=rf"$\lambda={tau:g}$")
            axis.grid(visible=False, axis="x")
        axes[0].set_ylabel("$F$ (higher is better)")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(shown), fontsize=7.5)
        plots.save(figure, study.out / "four_rooms.png")


def write_page(study: Study, cells: list[dict[str, Any]]) -> None:
    """The same to look at in a browser."""
    with (study.out / "table.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    shown = [*PEERS, *(name for name in COLUMNS if any(cell["column"] == name for cell in cells))]
    charts = []
    for tau in LAMBDAS:
        lines = []
        for name in shown:
            each = [mean_and_error(name, tau, beta, cells) for beta in study.betas]
            means, errors = (np.array(part) for part in zip(*each, strict=True))
            ends = (pages.numbers(means - errors), pages.numbers(means + errors))
            lines.append(pages.Line(name, pages.numbers(study.betas), pages.numbers(means), *ends))
        charts.append(pages.Chart(f"λ = {tau:g}", "β", "F (higher is better)", tuple(lines), is_small=True))
    first = "; ".join(f"{name} {table[0][name]}" for name in shown if table[0].get(name))
    headline = f"Four rooms at λ = {table[0]['lambda']} and β = {table[0]['beta']}, F with its standard error: {first}."
    parts = {"Mean and standard error": charts, "Table": [pages.printed("Cells", table, "Published: means of peers.")]}
    page.write(pages.study("four_rooms", headline, parts, page.origin("four_rooms", study)), study)


def mean_and_error(name: str, tau: float, beta: float, cells: list[dict[str, Any]]) -> tuple[float, float]:
    """Height and error bar of one column in one cell."""
    if name in PEERS:
        return PUBLISHED[tau, beta][PEERS.index(name)]
    where = (name, tau, beta)
    values = next(np.array(c["values"]) for c in cells if (c["column"], c["lambda"], c["beta"]) == where)
    return float(values.mean()), standard_error(values)


if __name__ == "__main__":
    shown.run(main, Study)
