"""The page of a diagnosis: the verdict, the theory's condition, curvature, slope of the answer, shares of the error."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hfac import plots
from hfac.diagnostics import Diagnosis
from hfac.pages import _shared
from hfac.pages._page import (
    Bars,
    Chart,
    Fact,
    Line,
    Origin,
    Page,
    Reference,
    Section,
    Table,
    Text,
    cell,
    number,
    numbers,
    table,
)

NEEDED = "needed in a run of this length"
MOST_POINTS = 4_000  # of a cloud


def diagnosis(found: Diagnosis, lines: Sequence[str], judge: float, name: str, method: str, origin: Origin) -> Page:
    """A diagnosis.

    Args:
      found: from `hfac.diagnostics.diagnose`.
      lines: the diagnosis in plain words.
      judge: entropy weight of the judged gradient.
      name: of the problem.
      method: that was run.
      origin: of the numbers.
    """
    seeds = f"{len(found.seeds)} seed{'s' if len(found.seeds) > 1 else ''}"
    verdict, limit = found.verdict(), found.limit_words()
    holds = found.constant >= found.needed
    headline = (
        f"{method} ran {int(found.step[-1]):,} steps on {name} with {seeds}: {verdict}, where {found.needed:.2g} is "
        f"needed; limited by {limit}."
        if holds
        else f"{method} ran {int(found.step[-1]):,} steps on {name} with {seeds}: {verdict}; limited by {limit}."
    )
    words = tuple(Text(line.strip()[0].upper() + line.strip()[1:] + ".") for line in lines[1:-1])
    return Page(
        kind="hfac diagnose",
        title=f"Diagnosis of {method} on {name}",
        headline=headline,
        facts=(
            Fact("PL constant along the run", f"{found.constant:.2g}", "smallest ratio"),
            Fact("Needed", f"{found.needed:.2g}", "to pull a policy in within the run"),
            Fact("Limited by", found.limit, f"w/τ = {found.penalty / found.entropy:.3g}"),
            Fact("Entropy weight at the end", f"{found.entropy:.3g}", f"judged at {judge:g}"),
        ),
        sections=(
            Section("Verdict", (Text(f"{verdict}.", holds), Text(f"Limited by {limit}."), *words)),
            Section("The theory's condition", condition(found)),
            Section("The lower level", (_spectrum(found), _slope(found))),
            Section("What is left of the gradient", (_shares(found, judge), _split(found))),
            *_shared.provenance(origin),
        ),
    )


def condition(found: Diagnosis) -> tuple[Chart, ...]:
    """The theory's condition along the run and at random policies."""
    return _along(found), _scatter(found), _random(found)


def _references(found: Diagnosis) -> tuple[Reference, ...]:
    return (Reference(f"{NEEDED}, {found.needed:.2g}", float(found.needed)),)


def _along(found: Diagnosis) -> Chart:
    step, ratio = plots.ratio_along(found)
    kept = _shared.kept(len(step))
    line = _shared.line("median over seeds", step[kept], type(ratio)(*(values[kept] for values in ratio)))
    return Chart(
        "PL ratio along the run",
        "step k",
        "|∇J_τ|² / (τ gap)",
        (line,),
        _references(found),
        is_x_log=True,
        is_y_log=True,
        note="The band is the range over seeds.",
    )


def _cloud(name: str, x: Any, y: Any) -> Line:
    x, y = np.asarray(x), np.asarray(y)
    kept = _shared.kept(len(x), most=MOST_POINTS)
    return Line(name, numbers(x[kept]), numbers(y[kept]), kind="points")


def _scatter(found: Diagnosis) -> Chart:
    along = plots.scatter(found)
    bound = Line(f"C τ gap, C = {found.constant:.2g}", numbers(along.ends), numbers(along.bound), kind="guide")
    return Chart(
        "Gradient against gap",
        "gap J_τ(π*) − J_τ(π)",
        "|∇J_τ|²",
        (
            _cloud("random policies", found.at_random.gap, found.at_random.gradient_square),
            _cloud("along the run", along.gap, along.square),
            bound,
        ),
        is_x_log=True,
        is_y_log=True,
        is_small=True,
    )


def _random(found: Diagnosis) -> Chart:
    smallest = Reference(f"smallest along the run, {found.constant:.2g}", found.constant)
    return Chart(
        "PL ratio at random policies",
        "scale of random logits",
        "|∇J_τ|² / (τ gap)",
        (_cloud("random policies", found.scales, found.at_random.ratio),),
        (smallest, *_references(found)),
        is_x_log=True,
        is_y_log=True,
        is_small=True,
    )


def _spectrum(found: Diagnosis) -> Chart:
    each = (("last policy", found.curvature), ("best response", found.curvature_best))
    return Chart(
        f"Eigenvalues of −∇²J_τ at τ = {found.entropy:.2g}",
        "rank, 0 smallest to 1 largest",
        "eigenvalue",
        tuple(_cloud(name, np.linspace(0, 1, len(values)), values) for name, values in each),
        (Reference("0: concave above", 0.0),),
        is_small=True,
    )


def _slope(found: Diagnosis) -> Chart:
    inverse = 1 / found.taus
    guide = found.slopes[-1] * found.taus[-1] / found.taus
    return Chart(
        "Slope of the answer",
        "1/τ",
        "|dπ*_τ/dx|",
        (
            Line("measured", numbers(inverse), numbers(found.slopes)),
            Line("proportional to 1/τ", numbers(inverse), numbers(guide), kind="guide"),
        ),
        is_x_log=True,
        is_y_log=True,
        is_small=True,
    )


def _shares(found: Diagnosis, judge: float) -> Bars:
    there = {name: share for name, share in found.shares.items() if number(share) is not None}
    return Bars(
        f"Shares of what is left of ∇Φ at τ = {judge:g}",
        "share",
        tuple(there),
        tuple(number(share) or 0.0 for share in there.values()),
        found.limit,
        "They add up to 1; the largest, hatched, limits the run.",
        is_small=False,
    )


def _split(found: Diagnosis) -> Table:
    split = found.split
    rows = [
        {
            "seed": cell(seed, str(seed)),
            **{
                name: cell(float(np.linalg.norm(getattr(split, field)[n])))
                for field, name in (
                    ("exact", "|∇Φ|"),
                    ("regularization", "bias of τ"),
                    ("penalty", "bias of w"),
                    ("tracking", "policies that lag"),
                    ("mean", "expected direction"),
                )
            },
            "noise of one direction": cell(float(np.sqrt(split.noise[n]))),
            "cosine": cell(float(split.cosine[n]), f"{split.cosine[n]:.2f}"),
        }
        for n, seed in enumerate(found.seeds.tolist())
    ]
    return table("Parts of the sampled hyper-gradient at the end, by seed", rows, "Norms.")
