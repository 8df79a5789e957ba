"""Where a step of happy tweets spends its time, and what the decoder's cache is worth.

    python -m benchmarks.tweets                    # a minute and a half on two cores
    python -m benchmarks.tweets --json FILE

Parts are compiled alone, so their sum need not be the step; what is left of it is optimisers, clipping and status.
"""

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tyro


@dataclasses.dataclass(frozen=True)
class Tweets:
    """What to measure."""

    batch: int = 32
    """Tweets of each policy in a step."""
    opponents: int = 16
    """Others that each tweet is compared with."""
    sampled: int = 1_024
    """Tweets written with the cache and without it."""
    sampled_length: int = 32
    """Their tokens."""
    vocabulary: int = 1_536
    """Largest number of tokens."""
    length: int = 24
    """Tokens of a tweet in a step."""
    layers: int = 4
    """Of the decoder."""
    width: int = 64
    """Of its layers."""
    repeats: int = 5
    """Measurements of everything; the best counts."""
    json: Path | None = None
    """File for the numbers."""


def seconds(repeats: int, function: Callable[..., Any], *args: Any) -> float:
    """Best time of a compiled function."""
    import jax

    compiled = jax.jit(function)
    jax.block_until_ready(compiled(*args))
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        jax.block_until_ready(compiled(*args))
        times.append(time.perf_counter() - began)
    return min(times)


def cache(config: Tweets, vocabulary: int) -> dict[str, float]:
    """Seconds to write tweets with the cache and by reading everything again."""
    import jax
    import jax.numpy as jnp

    from hfac import tweets

    size = tweets.Size(vocabulary, config.sampled_length, config.layers, config.width, heads=4)
    cached = tweets.decoder_policy(size)
    params, key = cached.init(jax.random.key(0)), jax.random.key(1)

    def whole(params: Any, tokens: jax.Array) -> jax.Array:
        return tweets.Decoder(size).apply({"params": params}, tokens, tweets.empty_cache(size), jnp.int32(0))[0]

    again = tweets.from_apply(whole, cached.init, vocabulary, config.sampled_length)
    return {
        name: seconds(config.repeats, lambda key, params, p=policy: p.sample(key, params, config.sampled), key, params)
        for name, policy in (("with the cache", cached), ("without", again))
    }


def step(config: Tweets) -> tuple[int, dict[str, float]]:
    """Tokens that are known, and seconds of one step of HFAC with anchored pairs and of its parts."""
    import functools

    import jax
    import jax.numpy as jnp

    import hfac
    from hfac import tweets
    from hfac.sequences import episodes

    texts = tweets.grammar()
    tokenizer = tweets.build_tokenizer(texts, config.vocabulary)
    size = tweets.Size(tokenizer.size, config.length, config.layers, config.width, heads=4)
    policy, key = tweets.decoder_policy(size), jax.random.key(0)
    theta = policy.init(key)
    rater = functools.partial(tweets.compound, tweets.lexicon(tokenizer))
    anchors = tokenizer.encode_all(texts, config.length)
    problem = tweets.problem(
        policy, theta, rater, tokenizer.size, leader="preference", pairs="anchored", anchors=anchors
    )
    fitted = tweets.Fitted(theta, float("nan"), float("nan"), ())
    setup = tweets.Setup(problem, tokenizer, size, fitted, rater, ())
    method = tweets.method(setup, "hfac", coupled=True, batch_size=config.batch, num_opponents=config.opponents)
    rates = hfac.schedules.attenuating(upper=3e-3, actor=3e-4, critic=3e-3, penalty=4.0, entropy=0.6)
    state = jax.jit(method.init)(key, rates)
    draw = jax.jit(episodes.sampled(problem, config.batch, config.opponents, True))(key, theta, theta)
    first, second = draw.batches

    def walk(theta: Any, batch: Any) -> Any:
        path, pull = episodes.path(problem, theta, batch)
        return pull(path)

    def both(theta: Any, first: Any, second: Any) -> Any:
        return walk(theta, first), walk(theta, second)

    def direction(x: Any, first: Any, second: Any, pairs: Any) -> Any:
        return episodes.hypergradient(problem, x, first, second, pairs, 4.0)

    def opinions(x: Any, first: Any, second: Any, pairs: Any) -> Any:
        costs = episodes.leader_costs(problem, x, second, pairs)
        return episodes.rewards(problem, x, first), episodes.rewards(problem, x, second), costs

    def write(key: jax.Array, theta: Any) -> Any:
        return policy.sample(key, theta, config.batch), policy.sample(key, jax.tree.map(jnp.sin, theta), config.batch)

    timed = functools.partial(seconds, config.repeats)
    return tokenizer.size, {
        "step": timed(method.step, key, state, rates),
        "write": timed(write, key, theta),
        "read and pull back": timed(both, theta, first, second),
        "rewards and costs": timed(opinions, state.x, first, second, draw.pairs),
        "hyper-gradient": timed(direction, state.x, first, second, draw.pairs),
    }


def main(config: Tweets) -> None:
    """Measure, print, store."""
    import jax

    vocabulary, parts = step(config)
    whole = parts.pop("step")
    device = jax.devices()[0]
    print(f"{device.platform} {device.device_kind}, {config.layers} layers x {config.width}, {vocabulary} tokens known")
    print(f"one step, {config.batch} tweets of {config.length} tokens for each of two policies: {1e3 * whole:.1f} ms")
    for name, took in {**parts, "the rest": whole - sum(parts.values())}.items():
        print(f"  {name:<20} {1e3 * took:8.1f} ms {took / whole:6.0%}")
    wrote = cache(config, vocabulary)
    ratio = wrote["without"] / wrote["with the cache"]
    print(f"{config.sampled:,} tweets of {config.sampled_length} tokens:")
    for name, took in wrote.items():
        print(f"  {name:<20} {took:8.2f} s")
    print(f"  {'ratio':<20} {ratio:8.1f}")
    if config.json is not None:
        found = {"step": whole, "parts": parts, "writing": wrote, "ratio": ratio, "jax": jax.__version__}
        config.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(tyro.cli(Tweets))
