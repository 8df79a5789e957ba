"""One trace and one compilation serve a whole sweep, a repeated sweep, and the user's own transformations."""

import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hfac
from hfac import engine
from hfac.algorithms import hfac as build
from hfac.engine import _loop, _sweep
from hfac.schedules import grid
from support import cases

MOST_KERNELS = 70  # of a step, each of which is launched by itself where steps are not one function

GRID = grid(cases.gentle(), {"entropy.scale": [0.05, 0.1, 0.2]})


@pytest.fixture(autouse=True)
def no_traces_yet():
    chex.clear_trace_counter()


def watched(num_traces=1, **options):
    algorithm = build(cases.goal(), **options)
    return algorithm._replace(step=chex.assert_max_traces(algorithm.step, n=num_traces))


@pytest.mark.parametrize("num_devices", [1, 2])
def test_a_sweep_traces_its_step_once(num_devices, monkeypatch):
    devices = jax.local_devices()[:num_devices]
    monkeypatch.setattr(jax, "local_devices", lambda *args, **kwargs: devices)
    data = hfac.sweep(watched(), GRID, seeds=4, num_steps=20)
    assert data.attrs["num_devices"] == num_devices
    assert data.attrs["compile_seconds"] > 0


COMMUNICATION = re.compile(
    r"\b(all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute|collective-broadcast|send|recv)\b"
)


def test_devices_never_speak_to_each_other():
    devices = jax.local_devices()[:2]
    layout = _sweep.lay_out(build(cases.goal()), GRID, 4, devices=devices)
    assert len(layout.program.plan.devices) == 2
    text = layout.program._compile("whole", (layout.runs, jnp.array([1, 2], jnp.int32), ())).as_text()
    assert "num_partitions=2" in text and not COMMUNICATION.search(text)
    spread = jax.sharding.NamedSharding(jax.make_mesh((2,), ("run",), devices=devices), jax.P("run"))
    speaks = jax.jit(jnp.sum).lower(jax.device_put(jnp.arange(4.0), spread)).compile().as_text()
    assert COMMUNICATION.search(speaks)  # the words are those that the compiler uses


def test_a_second_sweep_compiles_nothing():
    algorithm = watched(1)
    first = hfac.sweep(algorithm, GRID, seeds=4, num_steps=20)
    other = grid(cases.gentle(upper=0.02), {"entropy.scale": [0.1, 0.2, 0.3]})  # other numbers, same shapes
    again = hfac.sweep(algorithm, other, seeds=[5, 6, 7, 8], num_steps=25, record_at=first.step.values + 5)
    assert again.attrs["compile_seconds"] == 0.0
    assert again.x.shape == first.x.shape


def test_a_second_run_compiles_nothing():
    algorithm = watched(1)
    for seed in (0, 1):
        state, _ = hfac.run(algorithm, hfac.run_key(seed), cases.gentle(entropy=0.1 + 0.1 * seed), 10)
        assert int(state.step) == 10  # a second trace would have raised


def test_inside_a_users_jit_vmap_and_scan():
    algorithm = watched(1)

    @jax.jit
    def user(seeds, schedules):
        def one(seed):
            key = hfac.run_key(seed)
            state = algorithm.init(jax.random.fold_in(key, 0), schedules)
            step = jax.random.fold_in(key, 1)
            loop = lambda s, k: (algorithm.step(jax.random.fold_in(step, k), s, schedules)[0], None)  # noqa: E731
            return jax.lax.scan(loop, state, jnp.arange(15, dtype=jnp.int32))[0]

        return jax.vmap(one)(seeds)

    states = user(jnp.arange(4, dtype=jnp.int32), cases.gentle())
    user(jnp.arange(4, 8, dtype=jnp.int32), cases.gentle(upper=0.02))
    data, swept = hfac.sweep(build(cases.goal()), cases.gentle(), seeds=4, num_steps=15, return_state=True)
    np.testing.assert_allclose(states.x, swept.x, rtol=0, atol=1e-6)  # the same streams, another fusion
    assert data.step.values[-1] == 15


@pytest.mark.parametrize(
    "options", [{}, {"coupled": True, "difference": "central", "batch_size": 4}, {"sampler": "iid"}]
)
def test_the_program_exports_to_every_platform(options):
    algorithm = build(cases.goal(), **options)
    record = _loop.default_record(algorithm)

    def advance(seed, schedules, state, lengths):
        return _loop.advance(algorithm, record, engine.run_key(seed), schedules, state, lengths, ())

    def batched(leaf):
        leaf = jnp.asarray(leaf)
        dtype = jnp.float32 if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf.dtype
        return jax.ShapeDtypeStruct((4, *leaf.shape), dtype)

    rates = jax.tree.map(batched, cases.gentle())
    states = jax.tree.map(batched, algorithm.init(jax.random.key(0), cases.gentle()))
    seeds, lengths = (jax.ShapeDtypeStruct((n,), jnp.int32) for n in (4, 3))
    program = jax.jit(jax.vmap(advance, (0, 0, 0, None)))
    platforms = ("cpu", "cuda", "tpu")
    exported = jax.export.export(program, platforms=platforms)(seeds, rates, states, lengths)
    assert set(exported.platforms) == set(platforms)
    assert "f64" not in exported.mlir_module()


def test_chunks_change_no_bit_and_their_trip_count_is_known():
    """On devices that ask their host whether a loop goes on: once a chunk, not once a step."""
    algorithm, schedules = build(cases.goal()), cases.gentle()
    record, key = _loop.default_record(algorithm), engine.run_key(0)
    first = _loop.first_state(algorithm, key, schedules)
    lengths = jnp.asarray([0, 3, 16, 41], jnp.int32)

    def advance(state, lengths, chunk):
        return _loop.advance(algorithm, record, key, schedules, state, lengths, (), chunk=chunk)

    program = jax.jit(advance, static_argnums=2).lower(first, lengths, 16).compile()
    assert re.search(r'"known_trip_count":\{"n":"16"\}', program.as_text())
    body = re.search(r'body=%?([\w.\-]+)[^\n]*"known_trip_count":\{"n":"16"\}', program.as_text())
    inside = re.search(rf"\n%?{re.escape(body[1])} [^\n]*\{{\n(.*?)\n\}}", program.as_text(), re.DOTALL)[1]
    assert 0 < len(re.findall(r" (?:fusion|copy|dot|custom-call)\(", inside)) <= MOST_KERNELS
    together, apart = program(first, lengths), jax.jit(advance, static_argnums=2)(first, lengths, 1)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool(jnp.all(a == b)), together, apart))
    assert together[1].step.tolist() == [0, 3, 19, 60]
