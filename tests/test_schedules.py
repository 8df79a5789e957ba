import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hfac.schedules import RATES, PowerDecay, Schedules, attenuating, fixed, grid
from support.helpers import ROUNDING, needs_x64

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("fields", "step", "expected"),
    [
        ({"scale": 2.0}, 10**6, 2.0),  # power 0 is constant
        ({"scale": 2.0, "power": 1.0}, 1, 1.0),  # offset 1: 2 / (1 + 1)
        ({"scale": 2.0, "power": 0.5, "offset": 3.0}, 9, 1.0),  # 2 / sqrt(1 + 9 / 3)
        ({"scale": 0.3, "power": 0.7, "offset": 50.0}, 0, 0.3),  # the scale is the value at step 0
        ({"scale": 2.0, "power": 1.0, "floor": 0.5}, 1, 1.0),  # floor not reached
        ({"scale": 2.0, "power": 1.0, "floor": 0.5}, 3, 0.5),  # reached exactly
        ({"scale": 2.0, "power": 1.0, "floor": 0.5}, 100, 0.5),
        ({"scale": 2.0, "power": 1.0, "floor": 2.0}, 100, 2.0),  # the floor may be the scale
        ({"scale": 2, "power": 1, "offset": 1, "floor": 0}, 3, 0.5),  # plain integers
    ],
)
def test_power_decay_values(fields, step, expected):
    np.testing.assert_allclose(PowerDecay(**fields)(jnp.asarray(step)), expected, rtol=ROUNDING)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"scale": 0.0}, "scale must be finite and > 0, got 0.0"),
        ({"scale": -1.0}, "scale must be finite and > 0, got -1.0"),
        ({"scale": NAN}, "scale must be finite and > 0, got nan"),
        ({"scale": INF}, "scale must be finite and > 0, got inf"),
        ({"scale": np.array([1.0, -2.0])}, r"scale must be finite and > 0, got \[1.0, -2.0\]"),
        ({"scale": 1.0, "power": -0.1}, "power must be finite and >= 0, got -0.1"),
        ({"scale": 1.0, "power": NAN}, "power must be finite and >= 0, got nan"),
        ({"scale": 1.0, "offset": 0.0}, "offset must be finite and > 0, got 0.0"),
        ({"scale": 1.0, "offset": -3}, "offset must be finite and > 0, got -3"),
        ({"scale": 1.0, "floor": -1e-9}, "floor must be finite and >= 0, got -1e-09"),
        ({"scale": 1.0, "floor": 1.5}, "floor must not exceed its scale 1.0, got 1.5"),
        ({"scale": 1.0, "floor": NAN}, "floor must be finite and >= 0, got nan"),
        ({"scale": np.array([1.0, 2.0]), "floor": 1.5}, r"must not exceed its scale \[1.0, 2.0\], got 1.5"),
    ],
)
def test_wrong_numbers_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        PowerDecay(**fields)


def test_tracers_pass_and_gradients_flow():
    def rate(scale: jax.Array) -> jax.Array:
        return PowerDecay(scale, 1.0, 1.0)(jnp.asarray(1))

    assert jax.jit(rate)(-4.0) == 0.0  # a tracer cannot be checked: what is left is the floor
    assert jax.grad(rate)(4.0) == pytest.approx(0.5, rel=ROUNDING)
    gradient = jax.grad(lambda s: -s.at(jnp.asarray(0)).upper)(attenuating())
    assert gradient.upper.scale == -1.0  # a gradient is a Schedules too: negative leaves must not raise


def test_a_batch_of_schedules_is_one_vmapped_axis():
    decays = PowerDecay(jnp.array([1.0, 2.0]), jnp.array([0.0, 1.0]), jnp.array([1.0, 1.0]), jnp.zeros(2))
    values = jax.vmap(PowerDecay.__call__, (0, None))(decays, jnp.asarray(3))
    np.testing.assert_allclose(values, [1.0, 0.5], rtol=ROUNDING)


@pytest.mark.parametrize(
    ("preset", "powers"),
    [(attenuating, (9 / 10, 1 / 2, 1 / 2, 3 / 20, 1 / 20)), (fixed, (2 / 3, 2 / 3, 2 / 3, 1 / 6, 0.0))],
)
def test_presets_have_the_powers_of_the_theory(preset, powers):
    schedules = preset(upper=0.1, actor=0.2, critic=0.3, penalty=0.4, entropy=0.5, offset=7.0)
    for rate, scale, power in zip(RATES, (0.1, 0.2, 0.3, 0.4, 0.5), powers, strict=True):
        assert getattr(schedules, rate) == PowerDecay(scale, power, 7.0, 0.0)


def test_overrides_change_one_number():
    changed = attenuating(entropy_power=0.3, actor_floor=1e-3, critic_offset=5.0, upper_scale=0.2)
    base = attenuating()
    assert changed.entropy == PowerDecay(base.entropy.scale, 0.3, base.entropy.offset)
    assert (changed.actor.floor, changed.critic.offset, changed.upper.scale) == (1e-3, 5.0, 0.2)
    assert changed.penalty == base.penalty


@pytest.mark.parametrize("name", ["entropy_speed", "tau_power", "entropy.power", "entropypower", "power"])
def test_unknown_overrides_are_refused(name):
    with pytest.raises(ValueError, match=f"unknown schedule option '{name}'; options are <rate>_<field>"):
        attenuating(**{name: 1.0})


@pytest.mark.parametrize("dtype", [jnp.float32, pytest.param(jnp.float64, marks=needs_x64)])
def test_rates_come_in_the_dtype_asked_for(dtype):
    for schedules in (attenuating(), grid(attenuating(), {"entropy.scale": [0.1]})[0]):
        rates = schedules.at(jnp.asarray(17_200), dtype)
        assert {rate.dtype for rate in rates} == {jnp.dtype(dtype)}
    # at step = offset: 3.5 / sqrt 2 and 6.7 / 2^0.15, a few units in the last place
    tolerance = 10 * jnp.finfo(dtype).eps
    rates = attenuating().at(jnp.asarray(17_200), dtype)
    np.testing.assert_allclose([rates.actor, rates.penalty], [3.5 / 2**0.5, 6.7 / 2**0.15], rtol=tolerance)


def test_rates_are_float32_unless_asked_even_with_x64_on():
    assert {rate.dtype for rate in attenuating().at(jnp.asarray(3))} == {jnp.dtype("float32")}
    assert {rate.dtype for rate in jax.jit(Schedules.at)(attenuating(), jnp.asarray(3))} == {jnp.dtype("float32")}


def test_a_grid_crosses_its_lists_the_last_axis_fastest():
    axes = {"entropy.scale": [0.1, 0.2], ("actor.scale", "critic.scale"): [(1.0, 0.5), (2.0, 0.6), (3.0, 0.7)]}
    batch, coordinates = grid(fixed(entropy_floor=0.01), axes)
    np.testing.assert_array_equal(batch.entropy.scale, [0.1, 0.1, 0.1, 0.2, 0.2, 0.2])
    np.testing.assert_array_equal(batch.actor.scale, [1.0, 2.0, 3.0] * 2)
    np.testing.assert_array_equal(batch.critic.scale, [0.5, 0.6, 0.7] * 2)
    assert all(leaf.shape == (6,) for leaf in jax.tree.leaves(batch))
    np.testing.assert_array_equal(batch.entropy.floor, np.full(6, 0.01))  # all the rest is the base's
    np.testing.assert_array_equal(batch.upper.power, np.full(6, 2 / 3))
    assert coordinates.dims == ("entropy.scale", "actor.scale")
    assert coordinates.shape == (2, 3)
    np.testing.assert_array_equal(coordinates.values["entropy.scale"]["entropy.scale"], [0.1, 0.2])
    assert list(coordinates.values["actor.scale"]) == ["actor.scale", "critic.scale"]
    np.testing.assert_array_equal(coordinates.values["actor.scale"]["critic.scale"], [0.5, 0.6, 0.7])


def test_a_grid_without_axes_is_the_base_alone():
    batch, coordinates = grid(fixed(), {})
    assert coordinates.dims == coordinates.shape == ()
    assert batch.actor.scale.tolist() == [3.5]


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"entropy.speed": [1.0]}, "unknown schedule setting 'entropy.speed'"),
        ({"entropy": [1.0]}, "unknown schedule setting 'entropy'; did you mean 'entropy.scale'?"),
        ({"tau": [1.0]}, "unknown schedule setting 'tau'; did you mean 'entropy.scale'?"),
        ({"entropy.scale": []}, "list for entropy.scale is empty"),
        ({("actor.scale", "critic.scale"): [(1.0,)]}, "every entry for actor.scale, critic.scale must have 2 values"),
        ({"actor.scale": [1.0], ("actor.scale", "critic.scale"): [(1.0, 1.0)]}, "'actor.scale' is listed twice"),
        ({"actor.scale": [1.0, -2.0]}, r"scale must be finite and > 0, got \[1.0, -2.0\]"),
        ({"actor.floor": [99.0]}, r"floor must not exceed its scale \[3.5\], got \[99.0\]"),
    ],
)
def test_wrong_grids_are_refused(axes, message):
    with pytest.raises(ValueError, match=message):
        grid(fixed(), axes)


@pytest.mark.parametrize(
    ("options", "num_steps", "sentences"),
    [
        ({"penalty": 0.1, "entropy": 0.1}, None, []),
        ({"penalty": 0.1, "entropy": 0.1, "upper_power": 0.4}, None, ["upper step decays slower than the actor's"]),
        ({"penalty": 0.1, "entropy": 0.1, "actor_power": 0.1}, None, ["actor step decays slower than the critic's"]),
        ({"penalty": 2.0, "entropy": 0.1}, None, ["w/tau = 20 at step 0"]),
        # 2 / 2^0.15 over 0.1 / 2^1.15 is 20 * 2 at step = offset
        (
            {"penalty": 2.0, "entropy": 0.1, "entropy_power": 1.15, "offset": 10.0},
            10,
            ["w/tau = 20 at step 0", "w/tau = 40 at step 10"],
        ),
        ({"penalty": 0.9, "entropy": 0.1, "penalty_power": 1.0, "entropy_power": 0.0}, 10**6, []),
    ],
)
def test_the_review_says_what_the_theory_would_question(options, num_steps, sentences):
    remarks = attenuating(**options).review(num_steps)
    assert len(remarks) == len(sentences)
    assert all(remark.startswith(sentence) for remark, sentence in zip(remarks, sentences, strict=True))


def test_the_review_of_a_grid_judges_its_worst_member():
    batch, _ = grid(attenuating(penalty=0.1, entropy=0.1), {"penalty.scale": [0.1, 5.0]})
    assert [remark.split(":")[0] for remark in batch.review()] == ["w/tau = 50 at step 0"]
