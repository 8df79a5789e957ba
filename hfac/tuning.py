"""Search for settings: random or crossed candidates, successive halving, the same budget and code for every method.

Candidates run side by side in compiled sweeps. After each rung the best part goes on from where it stands (Jamieson
and Talwalkar, 2016), so that nothing is computed twice. A search may take several rounds: each draws its candidates
around the best of the one before and tries fewer of them on more seeds of its own, so that luck on a few seeds does
not last. Seeds lie apart from those that are ever reported.
"""

import functools
import inspect
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from hfac import metrics, results, schedules
from hfac.engine import Layout, Piece, lay_out, stream
from hfac.problem import Problem
from hfac.types import Algorithm, Needs, PyTree, Status

FIRST_SEED = 1_000_000  # seeds from here on tune and are never reported
PROBE_STEPS = 256
NUM_PARENTS = 5  # settings that the next round is drawn around
WIDTH, NARROWING = 0.1, 0.6  # of those draws, as a part of a range's logarithm; and its factor from round to round
CHANGE = 0.25  # chance that such a draw moves a listed value to its neighbour
PENALTY_RATIO = "penalty_over_entropy"  # the penalty's scale in units of the entropy's
UPPER_RATIO = "upper_over_penalty"  # the upper scale in units of the penalty's: what x moves by, zeta / w
SETTINGS = tuple(f"{rate}.{field}" for rate in schedules.RATES for field in schedules.FIELDS)


class Range(NamedTuple):
    """Any number between two positive ends, uniform in the logarithm."""

    low: float
    high: float


Axis = Range | tuple[Any, ...]  # a range, or the values to choose from
Space = Mapping[str, Axis]  # "upper.scale", "offset", "penalty_over_entropy", or an option of the method's builder

RATE_SPACE: Space = {
    "upper.scale": Range(1e-4, 5e-2),
    "actor.scale": Range(0.5, 12.0),
    "critic.scale": Range(0.4, 1.2),
    PENALTY_RATIO: Range(5.0, 500.0),
    "entropy.scale": Range(0.006, 0.1),
    "offset": Range(3e3, 1e5),
    "upper.power": (0.6, 0.75, 0.9, 1.05, 1.2),
    "actor.power": (0.0, 0.15, 0.3, 0.5),
    "critic.power": (0.0, 0.15, 0.3, 0.5),
    "penalty.power": (0.0, 0.15, 0.3, 0.5),
    "entropy.power": (0.0, 0.05, 0.15, 0.3),
}
PENALTY_SPACE: Space = {UPPER_RATIO: Range(1e-4, 3e-2)}  # in place of upper.scale
PLANNER_SPACE: Space = {"upper.scale": Range(0.02, 20.0), "offset": Range(30.0, 3e4)}  # noiseless: few, long steps
OPTION_SPACE: Space = {"inner_steps": (1, 3, 10, 30, 100), "coupled": (True,), "pen_rate": (1.0, 0.3, 0.1)}


class Setting(NamedTuple):
    """One candidate: keywords of the method's builder, and numbers of its schedules."""

    options: dict[str, Any]
    rates: dict[str, float]  # "upper.scale" -> value


class Trial(NamedTuple):
    """A candidate at the end of a rung."""

    round: int
    candidate: int  # counts on from round to round
    rung: int
    steps: int
    samples: float  # environment transitions of one run, mean over seeds
    worth: float  # mean over seeds of the hyper-objective, +inf if one diverged: a setting must not need luck
    diverged: int
    setting: Setting


def is_rate(name: str) -> bool:
    """Whether an axis belongs to the schedules; all others are options of the method."""
    return name in ("offset", PENALTY_RATIO, UPPER_RATIO) or name in SETTINGS


def options_of(builder: Callable[..., Algorithm]) -> list[str]:
    """Names of a builder's options."""
    return [p.name for p in inspect.signature(builder).parameters.values() if p.default is not p.empty]


def space_of(
    builder: Callable[..., Algorithm], needs: Needs | None = None, overrides: Space | None = None
) -> dict[str, Axis]:
    """The default space of a method: all schedules, and those of `OPTION_SPACE` that it has.

    Args:
      builder: of the method.
      needs: of the method: one that plans takes few long steps instead of many short ones, and one with a penalty
        searches zeta / w, what x moves by, in place of zeta.
      overrides: axes that replace default ones.

    Raises:
      ValueError: if an override names neither a schedule's number nor an option of the builder.
    """
    needs = needs or Needs()
    options = options_of(builder)
    space: dict[str, Axis] = {**RATE_SPACE, **(PLANNER_SPACE if needs.model else {})}
    if needs.penalty and not needs.model:
        del space["upper.scale"]
        space.update(PENALTY_SPACE)
    space |= {name: axis for name, axis in OPTION_SPACE.items() if name in options}
    for name, axis in (overrides or {}).items():
        if not is_rate(name) and name not in options:
            known = ", ".join([*RATE_SPACE, UPPER_RATIO, *options])
            raise ValueError(f"the search has no axis '{name}'; there are {known}")
        for scale, ratio in (("penalty.scale", PENALTY_RATIO), ("upper.scale", UPPER_RATIO)):
            if name in (scale, ratio):
                space.pop(ratio if name == scale else scale, None)
        space[name] = axis
    return space


def draw(space: Space, count: int, seed: int = 0) -> list[Setting]:
    """Random candidates, every axis independently.

    An axis has a stream of its own: methods that share it try the same values, which pairs their searches.

    Raises:
      ValueError: if the count is not positive or a range has no positive, ordered ends.
    """
    if count < 1:
        raise ValueError(f"a search needs at least one candidate, got {count}; raise the budget or lower the samples")
    _check(space)

    def column(name: str, axis: Axis) -> list[Any]:
        rng = np.random.default_rng([seed, *name.encode()])
        if isinstance(axis, Range):
            return np.exp(rng.uniform(math.log(axis.low), math.log(axis.high), count)).tolist()
        return [axis[i] for i in rng.integers(len(axis), size=count)]

    columns = [column(name, axis) for name, axis in space.items()]
    return [_setting(dict(zip(space, row, strict=True))) for row in zip(*columns, strict=True)]


def around(parents: Sequence[Setting], space: Space, count: int, seed: int = 0, width: float = WIDTH) -> list[Setting]:
    """The parents themselves, then candidates near them.

    Every number of a range moves by a normal step in the logarithm, a listed value now and then to its neighbour.

    Args:
      parents: settings from the space, best first; each has as many children as the others.
      space: that they came from.
      count: candidates in all; parents beyond it are left out.
      seed: of the steps.
      width: standard deviation of a step, as a part of the range's logarithm.
    """
    size = max(0, count - len(parents))
    origins = [_chosen(parents[i % len(parents)], space) for i in range(size)]

    def column(name: str, axis: Axis) -> list[Any]:
        rng = np.random.default_rng([seed, *name.encode()])
        values = [origin[name] for origin in origins]
        if isinstance(axis, Range):
            low, high = math.log(axis.low), math.log(axis.high)
            moves = width * (high - low) * rng.normal(size=size)
            return np.exp(np.clip(np.log(values) + moves, low, high)).tolist()
        shifts = rng.choice([-1, 1], size=size) * (rng.uniform(size=size) < CHANGE)
        places = np.clip([_place(axis, value) for value in values] + shifts, 0, len(axis) - 1)
        return [axis[i] for i in places]

    columns = [column(name, axis) for name, axis in space.items()] if size else []
    return [*parents[:count], *(_setting(dict(zip(space, row, strict=True))) for row in zip(*columns, strict=True))]


def _place(values: tuple[Any, ...], value: Any) -> int:
    """Where a value stands in a list; a number may have been rounded on its way."""
    return next(i for i, v in enumerate(values) if v == value or (isinstance(v, float) and math.isclose(v, value)))


def cross(space: Space) -> list[Setting]:
    """Every combination of the listed values.

    Raises:
      ValueError: if an axis is a range, which has no end of values.
    """
    for name, axis in space.items():
        if isinstance(axis, Range):
            raise ValueError(
                f"a grid needs values on every axis, got the range {axis.low:g}:{axis.high:g} for '{name}'"
            )
    _check(space)
    return [_setting(dict(zip(space, row, strict=True))) for row in itertools.product(*space.values())]  # type: ignore[arg-type]


def _check(space: Space) -> None:
    for name, axis in space.items():
        if isinstance(axis, Range) and not (0 < axis.low < axis.high < math.inf):
            raise ValueError(f"the range of '{name}' must have ends 0 < low < high, got {axis.low:g}:{axis.high:g}")
        if not axis:
            raise ValueError(f"axis '{name}' lists no value; give at least one")


def _setting(chosen: Mapping[str, Any]) -> Setting:
    rates = {name: float(value) for name, value in chosen.items() if name in SETTINGS}
    if "offset" in chosen:
        rates |= {f"{rate}.offset": float(chosen["offset"]) for rate in schedules.RATES}
    if PENALTY_RATIO in chosen:
        rates["penalty.scale"] = chosen[PENALTY_RATIO] * rates.get("entropy.scale", 1.0)
    if UPPER_RATIO in chosen:
        rates["upper.scale"] = chosen[UPPER_RATIO] * rates.get("penalty.scale", 1.0)
    return Setting({name: value for name, value in chosen.items() if not is_rate(name)}, rates)


def _chosen(setting: Setting, space: Space) -> dict[str, Any]:
    """The values on the axes of a space that make a setting; undoes `_setting`."""
    rates = setting.rates
    derived = {
        "offset": rates.get("upper.offset"),
        PENALTY_RATIO: rates.get("penalty.scale", math.nan) / rates.get("entropy.scale", 1.0),
        UPPER_RATIO: rates.get("upper.scale", math.nan) / rates.get("penalty.scale", 1.0),
    }
    known = {**derived, **rates, **setting.options}
    return {name: known[name] for name in space}


def to_schedules(setting: Setting) -> schedules.Schedules:
    """The schedules of a setting; what it does not say is `hfac.schedules.attenuating`'s."""
    return schedules.replace(schedules.attenuating(), setting.rates)


class Rung(NamedTuple):
    """One round of halving."""

    num_candidates: int
    share: float  # of the horizon


def rungs(num_candidates: int, num_rungs: int = 3, reduction: int = 4) -> list[Rung]:
    """Rounds of a search: candidates fall and steps rise by the same factor.

    Raises:
      ValueError: if there is no rung or the reduction is below 2.
    """
    if num_rungs < 1 or reduction < 2:
        raise ValueError(f"a search needs a rung and a reduction of at least 2, got {num_rungs} and {reduction}")
    return [
        Rung(max(1, num_candidates // reduction**r), reduction ** float(r + 1 - num_rungs)) for r in range(num_rungs)
    ]


def affordable(budget: float, samples: float, num_seeds: int, num_rungs: int = 3, reduction: int = 4) -> int:
    """Candidates that a budget of samples pays for, survivors going on from where they stand."""
    cost = sum((1 if r == 0 else 1 - 1 / reduction) * reduction ** (1.0 - num_rungs) for r in range(num_rungs))
    return int(budget / (samples * num_seeds * cost))


class Plan(NamedTuple):
    """How a search spends its budget: the same for every method that is to be compared."""

    num_samples: int  # environment transitions of a run that goes all the way; steps for a method that uses none
    budget: float  # of the whole search
    num_seeds: int = 2  # of every candidate in the first round; they double from round to round
    first_seed: int = FIRST_SEED  # every round has seeds of its own, from here on
    num_rounds: int = 4
    num_rungs: int = 3
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
    problem: Problem,
    builder: Callable[..., Algorithm],
    space: Space,
    plan: Plan,
    tau: float,
    progress: Callable[[float, float], None] = lambda done, total: None,
) -> Iterator[list[Trial]]:
    """A whole search by random candidates; yields the trials of every rung of every round.

    Args:
      problem: what to solve.
      builder: ``(problem, **options) -> Algorithm``.
      space: from `space_of`.
      plan: of the search.
      tau: entropy weight at which x is judged.
      progress: called with (run-steps done, run-steps in all).

    Raises:
      ValueError: if the budget pays for no candidate, a builder refuses an option, or the space is wrong.
    """
    best: list[Setting] = []
    offset = 0
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
            progress=functools.partial(_in_round, progress, r, plan.num_rounds),
        ):
            yield [t._replace(round=r, candidate=offset + t.candidate) for t in found]
        best = [trial.setting for trial in found[:NUM_PARENTS] if math.isfinite(trial.worth)]
        offset += count


def _in_round(progress: Callable[[float, float], None], round: int, num_rounds: int, done: float, total: float) -> None:
    progress(round * total + done, num_rounds * total)


class _Group(NamedTuple):
    """Candidates that share one compiled program."""

    algorithm: Algorithm
    members: list[int]
    horizon: int  # steps that use the samples of a run


def search(
    problem: Problem,
    builder: Callable[..., Algorithm],
    candidates: Sequence[Setting],
    num_samples: int,
    tau: float,
    *,
    seeds: Sequence[int] = range(FIRST_SEED, FIRST_SEED + 4),
    num_rungs: int = 3,
    reduction: int = 4,
    progress: Callable[[float, float], None] = lambda done, total: None,
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

    Raises:
      ValueError: if a builder refuses an option or there is nothing to search.
    """
    plan = rungs(len(candidates), num_rungs, reduction)
    metric = metrics.exact(problem, tau)
    groups = _groups(problem, builder, candidates, num_samples, seeds)
    stands = [_Stand(None, 0, 0.0) for _ in candidates]
    alive = set(range(len(candidates)))
    total = sum(_average_steps(group.horizon, plan) * len(group.members) for group in groups) * len(seeds)
    done = 0.0
    for r, rung in enumerate(plan):
        trials = []
        for group in groups:
            members = [i for i in group.members if i in alive]
            if not members:
                continue
            goal, before = max(1, round(rung.share * group.horizon)), stands[members[0]].steps
            initial = None if r == 0 else _stack([stands[i].states for i in members])
            layout = lay_out(group.algorithm, _grid([candidates[i] for i in members]), list(seeds), initial=initial)
            for piece in stream(layout, [goal - before]):
                progress(min(done + piece.step * layout.num_runs, total), total)
            done += (goal - before) * layout.num_runs
            worth, failed = _judge(layout, piece, goal, metric)
            for i, value, count, states, used in zip(members, worth, failed, *_ends(layout, piece), strict=True):
                stands[i] = _Stand(states, goal, stands[i].samples + used)
                trials.append(Trial(0, i, r, goal, stands[i].samples, value, count, candidates[i]))
        trials.sort(key=lambda trial: trial.worth)
        yield trials
        if r + 1 < len(plan):
            alive = {trial.candidate for trial in trials[: plan[r + 1].num_candidates]}
    progress(total, total)


class _Stand(NamedTuple):
    """Where a candidate stands between two rungs."""

    states: PyTree  # leaves [N, ...], or None at the start
    steps: int
    samples: float  # of one run


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
    problem: Problem,
    builder: Callable[..., Algorithm],
    candidates: Sequence[Setting],
    num_samples: int,
    seeds: Sequence[int],
) -> list[_Group]:
    found: dict[str, list[int]] = {}
    for i, candidate in enumerate(candidates):
        found.setdefault(repr(sorted(candidate.options.items())), []).append(i)
    groups = []
    for members in found.values():
        first = candidates[members[0]]
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


def _grid(settings: Sequence[Setting]) -> tuple[schedules.Schedules, schedules.Coordinates]:
    """The settings as one dimension of a sweep."""
    each = [to_schedules(setting) for setting in settings]
    rows = [tuple(float(getattr(getattr(s, rate), field)) for rate, field in map(_parts, SETTINGS)) for s in each]
    return schedules.grid(schedules.attenuating(), {SETTINGS: rows})


def _parts(name: str) -> tuple[str, str]:
    rate, _, field = name.partition(".")
    return rate, field


def _judge(layout: Layout, piece: Piece, step: int, metric: metrics.Metric) -> tuple[list[float], list[int]]:
    """Mean of the hyper-objective, +inf if not finite, and failed runs, of every candidate."""
    record = jax.tree.map(lambda leaf: leaf[:, None], piece.record)
    samples = piece.num_samples[:, None]
    data = results.dataset(record, samples, np.array([step]), layout.seeds, layout.coordinates, {})
    judged = results.judge(data, metric)
    worth = judged["hyper_objective"].isel(step=0, judged_tau=0).mean("seed", skipna=False).values
    failed = (judged["status"].isel(step=0) != Status.OK).sum("seed").values
    return np.where(np.isfinite(worth), worth, np.inf).tolist(), failed.tolist()
