"""Every method of the registry obeys the protocol of `hfac.types.Algorithm`."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hfac import algorithms, options, schedules, types
from hfac.types import Needs, Solution, Status
from support import cases

RATES = schedules.attenuating()
every_method = pytest.mark.parametrize("name", algorithms.REGISTRY)
KEY = jax.random.key(7)


@functools.cache
def built(name):
    """The method on a small problem, and its step compiled once for all tests of a process."""
    algorithm = getattr(algorithms, name)(cases.goal())
    return algorithm, jax.jit(algorithm.step)


@functools.cache
def stepped(name):
    """The first state, and the state and info after one step."""
    algorithm, step = built(name)
    state = algorithm.init(KEY, RATES)
    return state, *step(KEY, state, RATES)


def same_types(first, second):
    assert jax.tree.structure(first) == jax.tree.structure(second)
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)


@every_method
def test_builder(name):
    builder = getattr(algorithms, name)
    parameters = list(inspect.signature(builder).parameters.values())
    assert parameters[0].name == "problem"
    own = [p for p in parameters[1:] if p.kind != p.VAR_KEYWORD]  # what is left is the lower level's
    assert all(p.kind == p.KEYWORD_ONLY and p.default is not p.empty for p in own)
    assert all(option.words for option in options.of(builder).values())
    text = f"{builder.__doc__} {inspect.getmodule(builder).__doc__}"
    assert "arXiv" in text or "et al." in text
    assert all(p.name in builder.__doc__ for p in own)
    assert name in dir(algorithms)


@every_method
def test_needs_are_stated(name):
    needs = algorithms.needs(name)
    assert isinstance(needs, Needs)
    assert all(isinstance(flag, bool) for flag in needs)
    has_samples = int(stepped(name)[2].num_samples) > 0
    assert has_samples or needs.model


@every_method
def test_argument_names(name):
    names = [list(inspect.signature(function).parameters) for function in built(name)[0][:3]]
    assert names == [["key", "schedules"], ["key", "state", "schedules"], ["state"]]


@every_method
def test_state_info_and_solution(name):
    state, new, info = stepped(name)
    assert type(state)._fields[0] == "step"
    for field, value in (("step", 0), ("status", Status.OK), ("failed_at", -1)):
        leaf = getattr(state, field)
        assert (leaf.shape, leaf.dtype, int(leaf)) == ((), jnp.int32, value)
    assert int(new.step) == 1
    assert (info.num_samples.shape, info.num_samples.dtype) == ((), jnp.int32)
    solution = built(name)[0].solution(new)
    assert isinstance(solution, Solution)
    moved = types.start_from(new, jax.tree.map(lambda leaf: leaf + 1, solution.x))
    ends = built(name)[0].solution(moved).x
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b + 1, rtol=0, atol=1e-6), ends, solution.x)
    assert int(moved.step) == 1


@every_method
def test_a_state_holds_arrays_only(name):
    for leaf in jax.tree.leaves(stepped(name)[0]):
        assert isinstance(leaf, jax.Array)
        assert not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


@every_method
def test_types_are_stable(name):
    algorithm, step = built(name)
    state, once, info = stepped(name)
    same_types(state, once)
    same_types(state, jax.eval_shape(algorithm.init, KEY, RATES))
    same_types((once, info), step(KEY, once, RATES))

    def scanned(state):
        return jax.lax.scan(lambda s, k: algorithm.step(k, s, RATES), state, jax.random.split(KEY, 3))

    last, infos = jax.eval_shape(scanned, state)
    same_types(state, last)
    assert infos.num_samples.shape == (3,)

    keys = jax.random.split(KEY, 4)
    batch = jax.tree.map(lambda leaf: jnp.full(4, leaf, jnp.float32), RATES)
    states = jax.eval_shape(jax.vmap(algorithm.init), keys, batch)
    new, infos = jax.eval_shape(jax.vmap(algorithm.step), keys, states, batch)
    same_types(states, new)
    for one, four in zip(jax.tree.leaves(state), jax.tree.leaves(new), strict=True):
        assert ((4, *one.shape), one.dtype) == (four.shape, four.dtype)
    assert infos.num_samples.shape == (4,)


@every_method
def test_steps_are_pure(name):
    _, step = built(name)
    _, state, _ = stepped(name)
    jax.tree.map(np.testing.assert_array_equal, step(KEY, state, RATES), step(KEY, state, RATES))


@every_method
def test_float32_whatever_the_default(name):
    state, new, info = stepped(name)
    for leaf in jax.tree.leaves((state, new, info, built(name)[0].solution(new))):
        assert leaf.dtype in (jnp.float32, jnp.int32, jnp.bool_)


@pytest.mark.parametrize("name", [name for name in algorithms.REGISTRY if name != "true_reward"])  # it reads no x here
def test_a_failed_run_stands_still(name):
    algorithm, step = built(name)
    _, state, _ = stepped(name)
    bad = jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), algorithm.solution(state).x)
    for _ in range(12):  # methods with inner steps move x at some of them only
        state = step(KEY, state, RATES)[0]
    failed = types.start_from(state, bad)
    for _ in range(12):
        failed = step(KEY, failed, RATES)[0]
    assert int(failed.status) == Status.NON_FINITE
    theta = algorithm.solution(failed).theta
    jax.tree.map(np.testing.assert_array_equal, theta, algorithm.solution(step(KEY, failed, RATES)[0]).theta)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(theta))
