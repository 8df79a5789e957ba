"""Steps compiled as one native function give the numbers of the ordinary program, and give way where they cannot."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hfac
from hfac import algorithms
from hfac._compiler import native
from hfac._compiler.jaxpr import MANY_EQUATIONS, has_large_product, has_many_equations
from hfac.algorithms import hfac as build
from hfac.engine import _program
from support import cases
from support.slow import few

NUM_STEPS = 40


@pytest.fixture
def plainly(monkeypatch):
    """Makes programs that are built from now on ordinary ones."""

    def turn_off():
        _program.program.cache_clear()
        monkeypatch.setattr(native, "is_known", lambda: False)

    yield turn_off
    _program.program.cache_clear()


@pytest.mark.parametrize(
    "options",
    few(
        [{}, {"coupled": True, "difference": "central", "batch_size": 3}, {"sampler": "iid"}, {"tail_average": 0.5}],
        {"coupled": True, "difference": "central", "batch_size": 3},
    ),
)
def test_the_same_numbers_as_the_ordinary_program(options, plainly):
    algorithm = build(cases.goal(), **options)
    native = hfac.sweep(algorithm, cases.gentle(), 3, NUM_STEPS)
    plainly()
    plain = hfac.sweep(algorithm, cases.gentle(), 3, NUM_STEPS)
    np.testing.assert_array_equal(native.samples, plain.samples)
    # float32: 40 steps of one rounding each, on logits below 1; a changed draw would move one by 1e-3
    np.testing.assert_allclose(native.x, plain.x, rtol=0, atol=2e-5)


def test_a_step_that_factorises_or_sorts_still_runs(plainly):
    def sorted_reward(x, s, a, s_next):
        return jnp.sort(x)[s_next]

    problem = cases.goal()
    problem = hfac.Problem(mdp=problem.mdp, reward=sorted_reward, init_x=problem.init_x, cost=problem.cost)
    algorithms = [build(problem), build(cases.goal(), sampler="exact")]
    found = [hfac.sweep(algorithm, cases.gentle(), 2, 5).x.values for algorithm in algorithms]
    plainly()
    for algorithm, x in zip(algorithms, found, strict=True):
        np.testing.assert_allclose(hfac.sweep(algorithm, cases.gentle(), 2, 5).x, x, rtol=0, atol=1e-5)


LARGE_START = """
from typing import Any, NamedTuple
import jax.numpy as jnp, numpy as np, hfac
from hfac.types import Algorithm, Solution

class State(NamedTuple):
    step: Any
    x: Any
    theta: Any

class Info(NamedTuple):
    num_samples: Any

table = jnp.asarray(np.random.default_rng(0).normal(size=5_000), jnp.float32)
init = lambda key, schedules: State(jnp.int32(0), table, table)
step = lambda key, at, schedules: (State(at.step + 1, at.x + 1, at.theta * 2), Info(jnp.int32(1)))
algorithm = Algorithm(init, step, lambda at: Solution(at.x, at.theta))
record = lambda state, info, schedules: state.step
state, _ = hfac.run(algorithm, hfac.run_key(0), hfac.schedules.attenuating(), 3, record=record)
assert jnp.allclose(state.x, table + 3) and jnp.allclose(state.theta, 8 * table)
"""


def test_a_start_with_a_large_constant_does_not_end_the_process():
    done = subprocess.run([sys.executable, "-c", LARGE_START], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2_000:]


def test_large_products_are_told_from_batches_of_small_ones():
    small, large = jnp.ones((1_000, 50, 50)), jnp.ones((400, 400))
    batch = jax.make_jaxpr(lambda a: jax.vmap(jnp.dot)(a, a))(small).jaxpr
    whole = jax.make_jaxpr(jax.jit(lambda a: a @ a))(large).jaxpr
    assert has_large_product(whole) and not has_large_product(batch)


def test_a_run_is_a_sweep_of_one_and_can_be_transformed():
    algorithm = build(cases.goal())
    alone, _ = hfac.run(algorithm, hfac.run_key(3), cases.gentle(), NUM_STEPS)
    data = hfac.sweep(algorithm, cases.gentle(), [3], NUM_STEPS)
    np.testing.assert_array_equal(alone.x, data.x.values[0, -1])
    batch = jax.vmap(lambda seed: hfac.run(algorithm, hfac.run_key(seed), cases.gentle(), NUM_STEPS)[0].x)
    np.testing.assert_allclose(batch(jnp.asarray([3, 4]))[0], alone.x, rtol=0, atol=2e-5)


def test_a_program_says_what_it_holds():
    from hfac.engine import _sweep

    layout = _sweep.lay_out(build(cases.goal()), cases.gentle(), 4, devices=jax.local_devices()[:1])
    assert layout.program.peak_bytes == 0  # nothing is compiled yet
    states = layout.program.start(layout.runs)
    layout.program.advance(layout.runs, states, [2])
    held = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(jax.eval_shape(lambda: states)))
    assert layout.program.peak_bytes >= held


def test_long_programs_are_told_from_the_longest_tabular_step():
    def long(x):
        for _ in range(MANY_EQUATIONS + 1):
            x = x + 1
        return x

    algorithm, rates = algorithms.a_parl(cases.goal()), cases.gentle()
    step = jax.make_jaxpr(algorithm.step)(jax.random.key(0), algorithm.init(jax.random.key(0), rates), rates)
    assert has_many_equations(jax.make_jaxpr(long)(1.0).jaxpr) and not has_many_equations(step.jaxpr)
