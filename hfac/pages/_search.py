"""The page of a search for settings: rungs, what was tried, what was found, the command line that uses it."""

import math
from collections.abc import Sequence

from hfac import plots
from hfac.pages import _shared
from hfac.pages._page import (
    Cell,
    Chart,
    Code,
    Fact,
    Line,
    Origin,
    Page,
    Section,
    Table,
    Text,
    cell,
    numbers,
    table,
    text,
)
from hfac.tuning import Trial

MOST_CANDIDATES = 500  # rows of the table


def search(log: Sequence[Sequence[Trial]], command: str, tau: float, name: str, method: str, origin: Origin) -> Page:
    """A search by successive halving.

    Args:
      log: trials of every rung.
      command: line that uses the best setting.
      tau: entropy weight at which x was judged.
      name: of the problem.
      method: whose settings are searched.
      origin: of the numbers.
    """
    best, tracks = log[-1][0], plots.tracks(log)
    diverged = sum(not math.isfinite(trials[-1].objective) for trials in tracks.values())
    headline = (
        f"A search of {len(tracks):,} settings of {method} on {name} ends with an objective of {best.objective:.4f} at "
        f"τ = {tau:g}, the mean over its tuning seeds; report it on fresh ones."
    )
    used = max(best.samples, best.steps)
    return Page(
        kind="hfac tune",
        title=f"Search for settings of {method} on {name}",
        headline=headline,
        facts=(
            Fact("Best objective", f"{best.objective:.4f}", f"candidate {best.candidate}, tuning seeds"),
            Fact("Candidates", f"{len(tracks):,}", f"{diverged:,} diverged"),
            Fact("Rungs", f"{len(log)}", f"in {1 + max(t.round for rung in log for t in rung)} rounds"),
            Fact("Longest run", f"{used:,.0f}", "samples" if best.samples else "steps"),
        ),
        sections=(
            Section("Best setting", (Code("Command that runs it", command), _setting(best))),
            Section("The search", (_halving(log), *_axes(log))),
            Section("Candidates", (_candidates(log),)),
            Section("Status of the runs", (_failures(log),)),
            *_shared.provenance(origin),
        ),
    )


def _setting(best: Trial) -> Table:
    rates = {name: value for name, value in best.setting.rates.items() if value or not name.endswith("floor")}
    rows = [
        {"setting": Cell(name.replace("_", " ")), "value": text(value)} for name, value in best.setting.options.items()
    ]
    rows += [
        {"setting": Cell(name.replace(".", " ")), "value": cell(value, f"{value:.5g}")} for name, value in rates.items()
    ]
    return table("Setting", rows)


def _halving(log: Sequence[Sequence[Trial]]) -> Chart:
    """Every candidate's objective as it goes on, by how far it came."""
    ceiling = plots.ceiling(log)
    by_length: dict[int, list[list[Trial]]] = {}
    for track in plots.tracks(log).values():
        by_length.setdefault(len(track), []).append(track)
    lines = []
    for length, each in sorted(by_length.items()):
        xs: list[float] = []
        ys: list[float] = []
        words: list[str] = []
        for track in each:
            xs += [*(float(max(t.samples, t.steps)) for t in track), math.nan]
            ys += [*(min(t.objective, ceiling) for t in track), math.nan]
            words += [*map(_words, track), ""]
        label = f"{len(each):,} candidates of {length} rung{'s' if length > 1 else ''}"
        lines.append(Line(label, numbers(xs), numbers(ys), kind="tracks", words=tuple(words)))
    best = log[-1][0]
    lines.append(_best(float(max(best.samples, best.steps)), best))
    return Chart(
        "Candidates from rung to rung",
        "samples of a run" if best.samples else "steps of a run",
        "objective",
        tuple(lines),
        is_x_log=True,
        note=f"Objectives above {ceiling:.4g}, where the worst tenth lies, and diverged ones are drawn there.",
    )


def _words(trial: Trial) -> str:
    return f"(candidate {trial.candidate}, {trial.objective:.4g})"


def _best(x: float, best: Trial) -> Line:
    return Line("best", numbers([x]), numbers([best.objective]), kind="mark", words=(_words(best),))


def _axes(log: Sequence[Sequence[Trial]]) -> list[Chart]:
    """Objectives against every axis of the schedules that was searched."""
    ceiling, best = plots.ceiling(log), log[-1][0]
    charts = []
    rungs = sorted({trial.rung for rung in log for trial in rung})
    for axis in plots.searched(log):
        lines = []
        for r in rungs:
            trials = [trial for rung in log for trial in rung if trial.rung == r]
            xs = numbers(trial.setting.rates[axis] for trial in trials)
            ys = numbers(min(trial.objective, ceiling) for trial in trials)
            lines.append(Line(f"rung {r + 1}", xs, ys, kind="points", words=tuple(map(_words, trials))))
        lines.append(_best(best.setting.rates[axis], best))
        label = "offset" if axis == "upper.offset" else axis.replace(".scale", "").replace(".", " ")
        is_log = not axis.endswith("power")
        charts.append(Chart(f"Against {label}", label, "objective", tuple(lines), is_x_log=is_log, is_small=True))
    return charts


def _candidates(log: Sequence[Sequence[Trial]]) -> Table:
    ends = sorted((track[-1] for track in plots.tracks(log).values()), key=lambda t: (-t.round, -t.rung, t.objective))
    axes = plots.searched(log)
    options = sorted({name for trial in ends for name in trial.setting.options})
    rows = []
    for trial in ends[:MOST_CANDIDATES]:
        row = {
            "candidate": cell(trial.candidate, str(trial.candidate)),
            "round": cell(trial.round, str(trial.round + 1)),
            "rung": cell(trial.rung, str(trial.rung + 1)),
            "objective": cell(
                trial.objective, f"{trial.objective:.4f}" if math.isfinite(trial.objective) else "diverged"
            ),
            "steps": cell(trial.steps, f"{trial.steps:,}"),
            "samples": cell(trial.samples, f"{trial.samples:,.0f}"),
        }
        row |= {name.replace("_", " "): text(trial.setting.options.get(name, "")) for name in options}
        row |= {axis.replace(".scale", "").replace(".", " "): cell(trial.setting.rates[axis]) for axis in axes}
        rows.append(row)
    left = f"{MOST_CANDIDATES} of {len(ends):,}; search.csv holds all. " if len(ends) > MOST_CANDIDATES else ""
    return table("Every candidate where it stopped", rows, f"{left}Objectives are means over tuning seeds.")


def _failures(log: Sequence[Sequence[Trial]]) -> Text:
    failed = sum(trial.diverged for rung in log for trial in rung)
    bad = sum(trial.diverged > 0 for rung in log for trial in rung)
    if not failed:
        return Text("No run of the search diverged.", True)
    return Text(
        f"{failed:,} runs of {bad:,} trials diverged; such a trial counts as +inf, as a setting must not need luck.",
        False,
    )
