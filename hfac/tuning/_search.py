"""Search for settings: random or crossed candidates, successive halving, the same budget and code for every method.

Candidates run side by side in compiled sweeps. After each rung the best part goes on from where it stands (Jamieson
and Talwalkar, 2016), so that nothing is computed twice. A search may take several rounds: each draws its candidates
around the best of the one before and tries fewer of them on more seeds of its own, so that luck on a few seeds does
not last. Seeds lie apart from those that are ever reported.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from hfac import judging, options, results, schedules
from hfac.engine import Layout, Piece, first_shapes, lay_out, stream
from hfac.settings import METHOD, RATE_SETTINGS, SettingName
from hfac.tuning._finished import FinishedRungs, Outcome
from hfac.tuning._space import WIDTH, Setting, Space, around, draw, to_schedules
from hfac.types import Algorithm, PyTree, Status

FIRST_SEED = 1_000_000  # seeds from here on tune and are never reported
PROBE_STEPS = 256
NUM_PARENTS = 5  # settings that the next round is drawn around
NARROWING = 0.6  # of the width of those draws, from round to round


class Trial(NamedTuple):
    """A candidate at the end of a rung."""

    round: int
    candidate: int  # counts on from round to round
    rung: int
    steps: int
    samples: float  # environment transitions of one run, mean over seeds
    objective: float  # mean over seeds of the hyper-objective, +inf if one diverged: a setting must not need luck
    diverged: int
    setting: Setting


class Rung(NamedTuple):
    """One round of halving."""

    num_candidates: int
    share: float  # of the horizon


def rungs(num_candidates: int, num_rungs: int = 2, reduction: int = 4) -> list[Rung]:
    """Rounds of a search: candidates fall and steps rise by the same factor.

    Raises:
      ValueError: if there is no rung or the reduction is below 2.
    """
    if num_rungs < 1 or reduction < 2:
        raise ValueError(f"a search needs a rung and a reduction of at least 2, got {num_rungs} and {reduction}")
    return [
        Rung(max(1, num_candidates // reduction**r), reduction ** float(r + 1 - num_rungs)) for r in range(num_rungs)
    ]


def affordable(budget: float, samples: float, num_seeds: int, num_rungs: int = 2, reduction: int = 4) -> int:
    """Candidates that a budget of samples pays for, survivors going on from where they stand."""
    cost = sum((1 if r == 0 else 1 - 1 / reduction) * reduction ** (1.0 - num_rungs) for r in range(num_rungs))
    return int(budget / (samples * num_seeds * cost))


class SearchPlan(NamedTuple):
    """How a search spends its budget: the same for every method that is to be compared."""

    num_samples: int  # environment transitions of a run that goes all the way; steps for a method that uses none
    budget: float  # of the whole search
    num_seeds: int = 2  # of every candidate in the first round; they double from round to round
    first_seed: int = FIRST_SEED  # every round has seeds of its own, from here on
    num_rounds: int = 4
    num_rungs: int = 2
    reduction: int = 4
    search_seed: int = 0

    def num_candidates(self, round: int) -> int:
        """Candidates of a round: all rounds cost the same."""
        share = self.budget / self.num_rounds
        return affordable(share, self.num_samples, len(self.seeds(round)), self.num_rungs, self.reduction)

    def seeds(self, round: int) -> range:
        """Seeds of a round's candidates."""
        first = self.first_seed + (2**round - 1) * self.num_seeds
        return range(first, first + 2**round * self.num_seeds)


def tune(
    problem: Any,
    builder: Callable[..., Algorithm],
    space: Space,
    plan: SearchPlan,
    tau: float,
    progress: Callable[[float, float], None] = lambda done, total: None,
    kept: FinishedRungs | None = None,
) -> Iterator[list[Trial]]:
    """A whole search by random candidates; yields the trials of every rung of every round.

    Args:
      problem: what to solve.
      builder: ``(problem, **options) -> Algorithm``.
      space: from `space_of`.
      plan: of the search.
      tau: entropy weight at which x is judged.
      progress: called with (run-steps done, run-steps in all).
      kept: where finished rungs are kept; those that are there are not run again.

    Raises:
      ValueError: if the budget pays for no candidate, a builder refuses an option, the space is wrong, or what is kept
        is damaged or of another search.
    """
    best: list[Setting] = []
    offset, r = 0, 0
    spent = of_round = 0.0

    def report(done: float, total: float) -> None:
        nonlocal of_round
        of_round = total
        progress(spent + done, spent + (plan.num_rounds - r) * total)

    for r in range(plan.num_rounds):
        count, seed = plan.num_candidates(r), plan.search_seed + r
        width = WIDTH * NARROWING ** (r - 1)
        candidates = around(best, space, count, seed, width) if best else draw(space, count, seed)
        found: list[Trial] = []
        for found in search(
            problem,
            builder,
            candidates,
            plan.num_samples,
            tau,
            seeds=plan.seeds(r),
            num_rungs=plan.num_rungs,
            reduction=plan.reduction,
            progress=report,
            kept=kept,
            round=r,
        ):
            yield [t._replace(candidate=offset + t.candidate) for t in found]
        best = [trial.setting for trial in found[:NUM_PARENTS] if math.isfinite(trial.objective)]
        offset, spent = offset + count, spent + of_round


class _Group(NamedTuple):
    """Candidates that share one compiled program."""

    algorithm: Algorithm
    members: list[int]
    horizon: int  # steps that use the samples of a run


def search(
    problem: Any,
    builder: Callable[..., Algorithm],
    candidates: Sequence[Setting],
    num_samples: int,
    tau: float,
    *,
    seeds: Sequence[int] = range(FIRST_SEED, FIRST_SEED + 4),
    num_rungs: int = 2,
    reduction: int = 4,
    progress: Callable[[float, float], None] = lambda done, total: None,
    kept: FinishedRungs | None = None,
    round: int = 0,
) -> Iterator[list[Trial]]:
    """Successive halving; yields the trials of every rung, best first. The first of the last rung is the winner.

    Args:
      problem: what to solve.
      builder: ``(problem, **options) -> Algorithm``.
      candidates: from `draw` or `cross`.
      num_samples: environment transitions of a run that goes all the way; steps for a method that uses none.
      tau: entropy weight at which x is judged.
      seeds: of every candidate.
      num_rungs: rounds.
      reduction: factor by which candidates fall and steps rise.
      progress: called with (run-steps done, run-steps in all).
      kept: where finished rungs are kept; those that are there are not run again.
      round: of a search in rounds.

    Raises:
      ValueError: if a builder refuses an option, there is nothing to search, or what is kept is damaged or of another
        search.
    """
    plan = rungs(len(candidates), num_rungs, reduction)
    metric = judging.judge_of(problem, tau).metric
    is_first_known = kept is not None and kept.outcomes(round, 0) is not None
    by_value = is_first_known and kept is not None and kept.is_grouped_by_value(round)
    groups = _groups(problem, builder, candidates, num_samples, seeds, by_value)
    stands = [_Paused(None, 0, 0.0) for _ in candidates]
    alive = set(range(len(candidates)))
    total = sum(_average_steps(group.horizon, plan) * len(group.members) for group in groups) * len(seeds)
    done = 0.0
    for r, rung in enumerate(plan):
        trials = []
        known = None if kept is None else kept.outcomes(round, r)
        if known is not None:
            trials = [Trial(round, o.candidate, r, *o[1:], candidates[o.candidate]) for o in known]
            for trial in trials:
                stands[trial.candidate] = _Paused(None, trial.steps, trial.samples)
            done += sum((t.steps - _steps_before(groups, t.candidate, plan, r)) * len(seeds) for t in trials)
            progress(min(done, total), total)
        for g, group in enumerate(groups if known is None else ()):
            members = [i for i in group.members if i in alive]
            if not members:
                continue
            goal, before = _goal(group, rung), stands[members[0]].steps
            initial = None if r == 0 else _states(kept, round, r - 1, g, group, [stands[i] for i in members], seeds)
            grid = _grid(builder, [candidates[i] for i in members])
            layout = lay_out(group.algorithm, grid, list(seeds), initial=initial)
            for piece in stream(layout, [goal - before]):
                progress(min(done + piece.step * layout.num_runs, total), total)
            done += (goal - before) * layout.num_runs
            objectives, failed = _judge(layout, piece, goal, metric)
            for i, value, count, states, used in zip(members, objectives, failed, *_ends(layout, piece), strict=True):
                stands[i] = _Paused(states, goal, stands[i].samples + used)
                trials.append(Trial(round, i, r, goal, stands[i].samples, value, count, candidates[i]))
        trials.sort(key=lambda trial: trial.objective)
        alive = {trial.candidate for trial in trials[: plan[r + 1].num_candidates]} if r + 1 < len(plan) else set()
        if kept is not None and known is None:
            survivors = {g: [stands[i].states for i in group.members if i in alive] for g, group in enumerate(groups)}
            outcomes = [Outcome(t.candidate, t.steps, t.samples, t.objective, t.diverged) for t in trials]
            kept.keep(round, r, outcomes, {g: _stack(states) for g, states in survivors.items() if states})
        yield trials
    progress(total, total)


class _Paused(NamedTuple):
    """Where a candidate stands between two rungs."""

    states: PyTree  # leaves [N, ...], or None at the start
    steps: int
    samples: float  # of one run


def _goal(group: _Group, rung: Rung) -> int:
    return max(1, int(np.round(rung.share * group.horizon)))


def _steps_before(groups: Sequence[_Group], candidate: int, plan: Sequence[Rung], rung: int) -> int:
    """Steps that a candidate had done when a rung began."""
    group = next(group for group in groups if candidate in group.members)
    return _goal(group, plan[rung - 1]) if rung > 0 else 0


def _states(
    kept: FinishedRungs | None,
    round: int,
    rung: int,
    index: int,
    group: _Group,
    stands: Sequence[_Paused],
    seeds: Sequence[int],
) -> PyTree:
    """Where a group's survivors stand at the end of a rung, from memory or from what was kept."""
    if all(stand.states is not None for stand in stands):
        return _stack([stand.states for stand in stands])
    assert kept is not None
    grid = schedules.grid(schedules.attenuating(), {"upper.scale": [float(i + 1) for i in range(len(stands))]})
    return kept.states(round, rung, index, first_shapes(lay_out(group.algorithm, grid, list(seeds))))


def _stack(states: Sequence[PyTree]) -> PyTree:
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *states)


def _ends(layout: Layout, piece: Piece) -> tuple[list[PyTree], list[float]]:
    """Last states [N, ...] and samples of one run, for every candidate of a layout."""
    num_runs, num_seeds = layout.num_runs, len(layout.seeds)
    states = jax.device_get(jax.tree.map(lambda leaf: leaf[:num_runs], piece.states))
    firsts = range(0, num_runs, num_seeds)
    cut = [jax.tree.map(lambda leaf, i=i: leaf[i : i + num_seeds], states) for i in firsts]
    return cut, [float(piece.num_samples[i : i + num_seeds].mean()) for i in firsts]


def _average_steps(horizon: int, plan: Sequence[Rung]) -> float:
    """Steps an average candidate does in a whole search."""
    shares = [0.0, *(rung.share for rung in plan)]
    steps = sum(rung.num_candidates * (rung.share - before) for rung, before in zip(plan, shares, strict=False))
    return horizon * steps / plan[0].num_candidates


def _groups(
    problem: Any,
    builder: Callable[..., Algorithm],
    candidates: Sequence[Setting],
    num_samples: int,
    seeds: Sequence[int],
    by_value: bool = False,
) -> list[_Group]:
    found: dict[str, list[int]] = {}
    for i, candidate in enumerate(candidates):
        static, numbers = _split(builder, candidate)
        key = sorted(candidate.options.items()) if by_value else (sorted(static.items()), sorted(numbers))
        found.setdefault(repr(key), []).append(i)
    groups = []
    for members in found.values():
        first = candidates[members[0]]
        for chosen in {repr(sorted(candidates[i].options.items())): candidates[i].options for i in members}.values():
            builder(problem, **chosen)  # refuses what is out of range
        algorithm = builder(problem, **first.options)
        rate = samples_per_step(algorithm, to_schedules(first), seeds[:1])
        groups.append(_Group(algorithm, members, steps_for(num_samples, rate)))
    return groups


def samples_per_step(algorithm: Algorithm, rates: schedules.Schedules, seeds: Sequence[int]) -> float:
    """Environment transitions that a step uses, measured over a short run; 0 for a method that plans."""
    layout = lay_out(algorithm, rates, list(seeds))
    *_, last = stream(layout, [PROBE_STEPS])
    return float(last.num_samples.mean()) / PROBE_STEPS


def steps_for(num_samples: int, rate: float) -> int:
    """Steps that use a number of samples at a rate of samples per step; as many steps for a method that uses none."""
    return max(1, round(num_samples / rate)) if rate > 0 else num_samples


def _grid(builder: Callable[..., Algorithm], settings: Sequence[Setting]) -> schedules.Grid:
    """The settings as one dimension of a sweep: rates, and what else of them is a number per run."""
    each = [to_schedules(setting) for setting in settings]
    rows = [tuple(float(getattr(getattr(s, name.owner), name.field)) for name in RATE_SETTINGS) for s in each]
    numbers = [_split(builder, setting)[1] for setting in settings]
    names = sorted(numbers[0])
    rows = [row + tuple(float(own[name]) for name in names) for row, own in zip(rows, numbers, strict=True)]
    paths = [name.path for name in (*RATE_SETTINGS, *(SettingName(METHOD, name) for name in names))]
    return schedules.grid(schedules.attenuating(), {tuple(paths): rows})


def _split(builder: Callable[..., Algorithm], setting: Setting) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options that a program is compiled for, and those that are numbers per run."""
    known = options.of(builder)
    is_number = {name: name in known and known[name].is_number for name in setting.options}
    return (
        {name: value for name, value in setting.options.items() if not is_number[name]},
        {name: value for name, value in setting.options.items() if is_number[name]},
    )


def _judge(layout: Layout, piece: Piece, step: int, metric: judging.Metric) -> tuple[list[float], list[int]]:
    """Mean of the hyper-objective, +inf if not finite, and failed runs, of every candidate."""
    record = jax.tree.map(lambda leaf: leaf[:, None], piece.record)
    samples = piece.num_samples[:, None]
    data = results.dataset(record, samples, np.array([step]), layout.seeds, layout.coordinates, {})
    judged = results.judge(data, metric)
    objectives = judged[judging.OBJECTIVE].isel(step=0, judged_tau=0).mean("seed", skipna=False).values
    failed = (judged["status"].isel(step=0) != Status.OK).sum("seed").values
    return np.where(np.isfinite(objectives), objectives, np.inf).tolist(), failed.tolist()
