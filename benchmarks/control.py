"""Environment steps a second of neural followers, beside a loop of random actions in the same environment.

    python -m benchmarks.control                                      # some three minutes on two cores
    python -m benchmarks.control --environment pendulum --num-envs 64 --seeds 1 8 64
    python -m benchmarks.control --num-envs 4096 --seeds 1 8 64       # on a GPU

Where rejax is installed, its PPO takes the same number of environments and steps, one epoch, one minibatch.
"""

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tyro


@dataclasses.dataclass(frozen=True)
class Control:
    """What to measure."""

    environment: str = "cartpole"
    """One of `hfac.control.environments.REGISTRY`, or of another package: gymnax:NAME, brax:NAME, jumanji:NAME."""
    num_envs: int = 1_024
    """Copies of the environment for every policy."""
    num_steps: int = 32
    """Steps of each copy in one step of a method."""
    hidden: tuple[int, ...] = (32, 32)
    """Widths of the hidden layers."""
    seeds: tuple[int, ...] = (1, 8)
    """Runs side by side."""
    steps: int = 10
    """Of a method, in one measurement."""
    repeats: int = 3
    """Measurements of everything; the best counts."""
    json: Path | None = None
    """File for the numbers."""


def measured(repeats: int, function: Callable[..., Any], *args: Any) -> tuple[float, float, int]:
    """Best seconds of a compiled function, CPU seconds to compile it, and bytes that it holds."""
    import jax

    began = time.process_time()
    compiled = jax.jit(function).lower(*args).compile()
    compiling = time.process_time() - began
    jax.block_until_ready(compiled(*args))
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        jax.block_until_ready(compiled(*args))
        times.append(time.perf_counter() - begin)
    held = compiled.memory_analysis()
    return min(times), compiling, int(held.temp_size_in_bytes + held.argument_size_in_bytes + held.output_size_in_bytes)


def of_method(config: Control, name: str, num_seeds: int) -> dict[str, float]:
    """Environment steps a second of some steps of a method."""
    import jax
    import jax.numpy as jnp

    import hfac

    problem = hfac.problems.reward_design(environment=config.environment, hidden=config.hidden)
    given = problem.method_options(name)
    algorithm = getattr(hfac.algorithms, name)(problem, num_envs=config.num_envs, num_steps=config.num_steps, **given)
    rates = hfac.schedules.attenuating(upper=1e-4, actor=3e-3, critic=3e-3, penalty=10.0, entropy=0.01, offset=100)
    keys = jax.vmap(hfac.run_key)(jnp.arange(num_seeds))

    def run(keys: jax.Array, states: Any) -> Any:
        def one(key: jax.Array, state: Any) -> Any:
            return jax.lax.scan(
                lambda state, k: (algorithm.step(jax.random.fold_in(key, k), state, rates)[0], None),
                state,
                jnp.arange(config.steps),
            )[0]

        return jax.vmap(one)(keys, states)

    states = jax.jit(jax.vmap(lambda key: algorithm.init(key, rates)))(keys)
    seconds, compiling, held = measured(config.repeats, run, keys, states)
    policies = 2 if hfac.algorithms.needs(name).penalty else 1
    count = num_seeds * policies * config.num_envs * config.num_steps * config.steps
    return {"steps a second": count / seconds, "compile, CPU s": compiling, "MB a run": held / num_seeds / 1e6}


def of_random_actions(config: Control, num_seeds: int) -> dict[str, float]:
    """Environment steps a second of a plain loop that acts at random and starts again at an end."""
    import jax
    import jax.numpy as jnp

    from hfac.control import environments
    from hfac.control.environment import any_action

    environment = environments.make(config.environment)
    num_envs, length = config.num_envs * num_seeds, config.num_steps * config.steps

    def one(carry: Any, key: jax.Array) -> Any:
        keys = jax.random.split(key, (num_envs, 3))
        actions = jax.vmap(lambda key: any_action(key, environment.actions))(keys[:, 0])
        found = jax.vmap(environment.step)(keys[:, 1], carry, actions)
        anew = jax.vmap(environment.reset)(keys[:, 2])[1]
        state = jax.tree.map(lambda a, b: jnp.where(found.terminated, a, b), anew, found.state)
        return state, found.reward.sum()

    def run(key: jax.Array) -> Any:
        first = jax.vmap(environment.reset)(jax.random.split(key, num_envs))[1]
        return jax.lax.scan(one, first, jax.random.split(key, length))

    seconds, compiling, held = measured(config.repeats, run, jax.random.key(0))
    return {
        "steps a second": num_envs * length / seconds,
        "compile, CPU s": compiling,
        "MB a run": held / num_seeds / 1e6,
    }


def of_rejax(config: Control, num_seeds: int) -> dict[str, float] | None:
    """The same of rejax's PPO, where it is installed."""
    import jax

    try:
        import gymnax
        from rejax import PPO
    except ImportError:
        return None
    names = {
        "cartpole": "CartPole-v1",
        "pendulum": "Pendulum-v1",
        "acrobot": "Acrobot-v1",
        "mountain_car": "MountainCar-v0",
    }
    env, params = gymnax.make(names[config.environment])
    batch = config.num_envs * config.num_steps
    algorithm = PPO.create(
        env=env,
        env_params=params,
        num_envs=config.num_envs,
        num_steps=config.num_steps,
        num_epochs=1,
        num_minibatches=1,
        total_timesteps=batch * config.steps,
        eval_freq=batch * config.steps,
        skip_initial_evaluation=True,
    ).replace(eval_callback=lambda *args: ())
    keys = jax.random.split(jax.random.key(0), num_seeds)
    seconds, compiling, held = measured(config.repeats, jax.vmap(algorithm.train), keys)
    count = num_seeds * batch * config.steps
    return {"steps a second": count / seconds, "compile, CPU s": compiling, "MB a run": held / num_seeds / 1e6}


def main(config: Control) -> None:
    """Measure, print, store."""
    import jax

    print(f"{config.environment}, {config.num_envs} x {config.num_steps} steps a policy, on {jax.devices()[0]}")
    print(f"{'':24}{'seeds':>6}{'M steps a s':>13}{'of random':>11}{'compile s':>11}{'MB a run':>10}")
    found: dict[str, dict[str, float]] = {}
    for num_seeds in config.seeds:
        plain = of_random_actions(config, num_seeds)
        rows = {
            "random actions": plain,
            "hfac": of_method(config, "hfac", num_seeds),
            "true_reward": of_method(config, "true_reward", num_seeds),
            "rejax PPO": of_rejax(config, num_seeds),
        }
        for name, row in rows.items():
            if row is None:
                print(f"{name:24}{num_seeds:6}   not installed")
                continue
            found[f"{name}, {num_seeds} seeds"] = row
            share = row["steps a second"] / plain["steps a second"]
            print(
                f"{name:24}{num_seeds:6}{row['steps a second'] / 1e6:13.3f}{share:11.2f}{row['compile, CPU s']:11.1f}"
                f"{row['MB a run']:10.1f}",
                flush=True,
            )
    if config.json is not None:
        config.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(tyro.cli(Control))
