"""What a sweep of tweets shows: its records judged, one row per measure, samples beside each other."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray

from hfac import comparison, plots, results, statistics
from hfac._compiler import random
from hfac.tweets import _judge, _people
from hfac.tweets._reward import reward
from hfac.tweets._setup import Setup
from hfac.types import Status

SHOWN = 8  # tweets in the printed table
NUM_REFERENCE = 8_192  # tweets of the pretrained decoder that rewards are judged on
ENDS = {"before": 0, "after": -1}  # record points
SCORES = ("score", "happy", "divergence", "entropy", "perplexity", "distinct", "repetition", "length", "accuracy")
RESPONSE = tuple(f"response_{name}" for name in _judge.Response._fields)


def judge(setup: Setup, data: xarray.Dataset, tau: float, reference: np.ndarray) -> xarray.Dataset:
    """Add what the policies write and what the last rewards ask for, in place of an earlier judgement."""
    dims = data["status"].dims
    data = data.drop_vars([*_judge.Writing._fields, *RESPONSE], errors="ignore")
    record = results.structured(
        {str(n): v.transpose(*dims, ...).values for n, v in data.data_vars.items()}, _like(setup)
    )
    writing = _judge.writing(record, setup.rater, reward)
    found: dict[str, Any] = {name: (dims, value) for name, value in zip(_judge.Writing._fields, writing, strict=True)}
    lead = data["status"].shape[:-1]
    last = jax.tree.map(lambda leaf: leaf[..., -1, *(slice(None),) * (leaf.ndim - len(lead) - 1)], record["x"])
    flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[len(lead) :]), last)
    response = _judge.response(setup.problem, flat, tau, reference)
    for name, value in zip(response._fields, response, strict=True):
        found[f"response_{name}"] = (dims[:-1], value.reshape(lead))
    return data.assign(found).assign_coords(judged_tau=[tau], reference=("judged_tau", [np.nan]))


def _like(setup: Setup) -> dict[str, Any]:
    return {"x": jax.eval_shape(setup.problem.init_x, random.key(0))}


def summary(setup: Setup, data: xarray.Dataset) -> list[dict[str, Any]]:
    """One row per configuration and measure: before, after with an interval over seeds, least and most."""
    rows = []
    picks = plots.configurations(data)
    for pick in picks:
        one = data.isel(pick)
        last, first = one.isel(step=-1), one.isel(step=0)
        found = [(name, float(first[name].mean()), np.asarray(last[name])) for name in SCORES]
        found += [(name, np.nan, np.asarray(one[name])) for name in RESPONSE]
        found += [(name, np.nan, value) for name, value in people(setup, one).items()]
        found += [("reward hacked", 0.0, (np.asarray(last["status"]) == Status.REWARD_HACKED).astype(float))]
        label = plots.describe(data, pick) if len(picks) > 1 else ""
        rows += [_row(*each, label) for each in found]
    return rows


def people(setup: Setup, data: xarray.Dataset) -> dict[str, np.ndarray]:
    """Agreement of the last rewards with held-out human ratings, by seed; nothing without ratings."""
    if not setup.judges:
        return {}
    record = results.structured({str(n): v.values for n, v in data.isel(step=-1).data_vars.items()}, _like(setup))
    found = []
    for i in range(data.sizes["seed"]):
        x = jax.tree.map(lambda leaf, i=i: jnp.asarray(leaf[i]), record["x"])

        def learned(tokens: jax.Array, x: Any = x) -> jax.Array:
            return reward(x, tokens)

        found.append(_people.agreement(learned, setup.tokenizer, setup.judges, setup.size.length))
    return {
        "rank correlation with people": np.array([a.spearman for a in found]),
        "log-loss of people's preferences": np.array([a.log_loss for a in found]),
    }


def _row(name: str, start: float, values: np.ndarray, configuration: str) -> dict[str, Any]:
    interval = statistics.bootstrap(values.astype(float))
    return {
        "configuration": configuration,
        "measure": name,
        "before": start,
        "interquartile_mean": float(interval.estimate),
        "low": float(interval.low),
        "high": float(interval.high),
        "least": float(values.min()),
        "most": float(values.max()),
        "seeds": values.size,
    }


def lines(rows: list[dict[str, Any]], shown: Sequence[Mapping[str, Any]], tau: float, num_seeds: int) -> list[str]:
    """Samples before and after, then the measures."""
    found = []
    for row in shown[:SHOWN]:
        found += [f"{row['score_before']:+.2f}  {row['before']}", f"  -> {row['score_after']:+.2f}  {row['after']}"]
    seeds = f"{num_seeds} seed{'s' if num_seeds > 1 else ''}"
    found += ["", f"measures of 256 tweets, {seeds}; the best response to a reward is judged at tau {tau:.3g}"]
    cells = [
        {
            "measure": f"{row['configuration']} {row['measure']}".strip(),
            "before": "" if np.isnan(row["before"]) else f"{row['before']:.3f}",
            "after [95 %]": statistics.format_interval(row["interquartile_mean"], row["low"], row["high"], 3),
            "least": f"{row['least']:.3f}",
            "most": f"{row['most']:.3f}",
        }
        for row in rows
    ]
    return found + comparison.lines(cells)


def samples(setup: Setup, data: xarray.Dataset) -> list[dict[str, Any]]:
    """Tweets before and after from the same random numbers, beside each other, with the rater's scores."""
    rate: Any = jax.jit(jax.vmap(setup.rater))
    rows = []
    for pick in plots.configurations(data):
        tokens = data["tokens"].isel(pick).transpose("seed", "step", "tokens_0", "tokens_1").values
        for seed, written in zip(data["seed"].values, tokens, strict=True):
            scores = {when: np.asarray(rate(written[at])) for when, at in ENDS.items()}
            for j in range(written.shape[1]):
                row: dict[str, Any] = {"configuration": plots.describe(data, pick), "seed": int(seed)}
                for when, at in ENDS.items():
                    row[f"score_{when}"] = round(float(scores[when][j]), 3)
                    row[when] = setup.tokenizer.decode(written[at, j])
                rows.append(row)
    return rows
