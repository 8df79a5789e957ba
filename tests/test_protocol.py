"""Every method of the registry obeys the protocol of `hfac.types.Algorithm`."""

import inspect

import cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hfac import algorithms, schedules
from hfac.types import Solution, Status

RATES = schedules.attenuating()
every_method = pytest.mark.parametrize("name", algorithms.REGISTRY)


@pytest.fixture(scope="module")
def goal():
    return cases.goal()


def build(name, problem):
    return getattr(algorithms, name)(problem)


def same_types(first, second):
    assert jax.tree.structure(first) == jax.tree.structure(second)
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)


@every_method
def test_builder(name, goal):
    builder = getattr(algorithms, name)
    parameters = list(inspect.signature(builder).parameters.values())
    assert parameters[0].name == "problem"
    assert all(p.kind == p.KEYWORD_ONLY and p.default is not p.empty for p in parameters[1:])
    text = f"{builder.__doc__} {inspect.getmodule(builder).__doc__}"
    assert "arXiv" in text or "et al." in text
    assert all(p.name in builder.__doc__ for p in parameters)
    assert name in dir(algorithms)


@every_method
def test_argument_names(name, goal):
    algorithm = build(name, goal)
    names = [list(inspect.signature(function).parameters) for function in algorithm]
    assert names == [["key", "schedules"], ["key", "state", "schedules"], ["state"]]


@every_method
def test_state_info_and_solution(name, goal, key):
    algorithm = build(name, goal)
    state = algorithm.init(key, RATES)
    new, info = jax.jit(algorithm.step)(key, state, RATES)
    assert type(state)._fields[0] == "step"
    for field, value in (("step", 0), ("status", Status.OK), ("failed_at", -1)):
        leaf = getattr(state, field)
        assert (leaf.shape, leaf.dtype, int(leaf)) == ((), jnp.int32, value)
    assert int(new.step) == 1
    assert (info.num_samples.shape, info.num_samples.dtype) == ((), jnp.int32)
    solution = algorithm.solution(new)
    assert isinstance(solution, Solution)
    moved = new.start_from(jax.tree.map(lambda leaf: leaf + 1, solution.x))
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b + 1), algorithm.solution(moved).x, solution.x)
    assert int(moved.step) == 1


@every_method
def test_a_state_holds_arrays_only(name, goal, key):
    state = build(name, goal).init(key, RATES)
    for leaf in jax.tree.leaves(state):
        assert isinstance(leaf, jax.Array)
        assert not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


@every_method
def test_types_are_stable(name, goal, key):
    algorithm = build(name, goal)
    state = algorithm.init(key, RATES)
    same_types(state, jax.eval_shape(algorithm.init, key, RATES))
    once, info = jax.jit(algorithm.step)(key, state, RATES)
    twice, info_twice = jax.jit(algorithm.step)(key, once, RATES)
    same_types(state, once)
    same_types(state, twice)
    same_types(info, info_twice)

    def scanned(state):
        return jax.lax.scan(lambda s, k: algorithm.step(k, s, RATES), state, jax.random.split(key, 3))

    last, infos = jax.jit(scanned)(state)
    same_types(state, last)
    assert infos.num_samples.shape == (3,)

    keys = jax.random.split(key, 4)
    batch = jax.tree.map(lambda leaf: jnp.full(4, leaf, jnp.float32), RATES)
    states = jax.vmap(algorithm.init)(keys, batch)
    new, infos = jax.jit(jax.vmap(algorithm.step))(keys, states, batch)
    same_types(states, new)
    same_types(state, jax.tree.map(lambda leaf: leaf[0], new))
    assert infos.num_samples.shape == (4,)


@every_method
def test_steps_are_pure(name, goal, key):
    algorithm = build(name, goal)
    step = jax.jit(algorithm.step)
    state = step(key, algorithm.init(key, RATES), RATES)[0]
    jax.tree.map(np.testing.assert_array_equal, step(key, state, RATES), step(key, state, RATES))


@every_method
def test_float32_whatever_the_default(name, goal, key):
    algorithm = build(name, goal)
    state = algorithm.init(key, RATES)
    new, info = jax.jit(algorithm.step)(key, state, RATES)
    for leaf in jax.tree.leaves((state, new, info, algorithm.solution(new))):
        assert leaf.dtype in (jnp.float32, jnp.int32, jnp.bool_)
