"""optax optimisers in place of plain stochastic approximation, and the options a builder refuses."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import hfac
from hfac import algorithms, schedules
from hfac.algorithms import hfac as build
from hfac.sequences.problem import EpisodicProblem
from support import cases
from support.slow import few

VARIABLES = ("x", "theta", "theta_pen", "value", "value_pen", "leader_value", "leader_value_neg")


@functools.cache
def final(name=None, difference="forward"):
    """The end of a noiseless run on Phi_tau(x) = x^2 / 4 - sigmoid(x / tau), with Adam for one variable or none."""
    problem = cases.bandit(
        h=lambda x: 0.25 * x**2,
        cost=lambda x, s, a, s_next: jnp.where(a == 1, -1.0, 0.0).astype(x.dtype),
        init_x=lambda key: jnp.zeros(()),
    )
    optimizers = {name: optax.adam(1.0)} if name else {}
    algorithm = build(problem, sampler="exact", difference=difference, optimizers=optimizers)
    rates = {"upper": 0.005, "actor": 1.0, "critic": 0.5, "penalty": 0.5, "entropy": 0.4}
    powers = dict.fromkeys(rates, 0.0)
    if name:  # an adaptive step has the size of its rate, so that rate must fall
        rate = {"x": "upper", "theta": "actor", "theta_pen": "actor"}.get(name, "critic")
        powers[rate] = 0.5
        rates[rate] = 0.05 if rate == "upper" else rates[rate]
    return cases.run(algorithm, hfac.run_key(0), schedules.make(rates, powers, 100.0, {}), 8_000, record_at=[8_000])[0]


@pytest.mark.parametrize(
    ("names", "options"),
    few(
        [(("x",), {}), (VARIABLES[:-1], {"batch_size": 3, "coupled": True}), (VARIABLES, {"difference": "central"})],
        (VARIABLES, {"difference": "central"}),
    ),
)
def test_sgd_at_unit_rate_changes_nothing(names, options):
    plain, other = (
        cases.run(build(cases.goal(), optimizers=o, **options), hfac.run_key(1), cases.gentle(), 200)[0]
        for o in (None, {name: optax.sgd(1.0) for name in names})
    )
    for name, truth in cases.variables(plain).items():
        found = cases.variables(other)[name]
        np.testing.assert_allclose(found, truth, rtol=0, atol=2e-6, err_msg=name)  # float32, 200 steps


@pytest.mark.parametrize("name", few(VARIABLES, "x", "theta_pen", "leader_value"))
def test_adam_converges(name):
    """All roads lead to the same fixed point."""
    difference = "central" if name == "leader_value_neg" else "forward"
    truth, found = final(None, difference), final(name, difference)
    assert int(found.status) == 0
    assert abs(float(truth.x) - float(found.x)) < 0.02
    assert abs(float(truth.x)) > 0.3
    for leaf in jax.tree.leaves(found.optimizers):
        assert leaf.dtype in (jnp.float32, jnp.int32)


def test_optimisers_see_dense_gradients_of_a_loss():
    seen = []

    def update(updates, state, params=None):
        seen.append((updates.shape, params.shape))
        return jax.tree.map(lambda g: -jnp.sign(g), updates), state

    optimizer = optax.GradientTransformation(lambda params: (), update)
    algorithm = build(cases.goal(), optimizers={"value": optimizer})
    rates = cases.constant(critic=0.25)
    state = algorithm.init(jax.random.key(0), rates)
    new, _ = jax.jit(algorithm.step)(jax.random.key(1), state, rates)
    assert seen == [((16,), (16,))]
    where = int(state.chains[0].state[0])
    expected = np.zeros(16)
    expected[where] = 0.25  # the rate times the sign of a positive temporal difference
    np.testing.assert_array_equal(new.value, expected)


@pytest.mark.parametrize("name", ["y", "Theta", "leader_value_neg", "step"])
def test_an_unknown_variable_is_refused(name, key):
    with pytest.raises(ValueError, match=f"no variable '{name}'"):
        build(cases.goal(), optimizers={name: optax.adam(1.0)}).init(key, cases.gentle())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampler": "gibbs"}, "sampler must be"),
        ({"difference": "backward"}, "difference must be"),
        ({"batch_size": 0}, "batch_size must be a whole number >= 1, got 0"),
        ({"batch_size": -3}, "batch_size must be"),
        ({"batch_size": 1.5}, "batch_size must be"),
        ({"sampler": "exact", "coupled": True}, "exact sampler draws nothing"),
        ({"sampler": "exact", "batch_size": 2}, "exact sampler draws nothing"),
        ({"tail_average": 0.0}, r"tail_average must lie in \(0, 1\], got 0"),
        ({"tail_average": 1.5}, "tail_average must"),
        ({"tail_average": float("nan")}, "tail_average must"),
        ({"projection": "cube"}, "projection must be 'box' or 'ball', got 'cube'"),
    ],
)
def test_a_wrong_option_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        build(cases.goal(), **options)


@pytest.mark.parametrize("name", algorithms.REGISTRY)
def test_what_is_no_problem_is_refused(name):
    with pytest.raises(ValueError, match=r"needs a (tabular hfac\.Problem|problem with a lower level).*, got int"):
        getattr(algorithms, name)(3)


def test_a_problem_of_another_kind_is_refused():
    with pytest.raises(ValueError, match=r"advantage needs a tabular hfac\.Problem, got EpisodicProblem"):
        algorithms.advantage(EpisodicProblem(*[None] * len(EpisodicProblem._fields)))


@pytest.mark.parametrize("fraction", [1.0, 0.5, 0.1])
def test_tail_average(fraction):
    """Weights j^eta give the mean age of a plain average over the last fraction: of a ramp, 1 - fraction / 2."""
    problem = cases.bandit(reward=lambda x, s, a, s_next: 0 * x, h=lambda x: -x, init_x=lambda key: jnp.zeros(()))
    algorithm = build(problem, tail_average=fraction)
    steps = 64 * 400
    state, _ = cases.run(algorithm, hfac.run_key(0), cases.constant(1 / steps), steps)
    np.testing.assert_allclose(state.inner.x, 1, rtol=1e-3)  # float32 sum of 25,600 increments
    np.testing.assert_allclose(algorithm.solution(state).x, 1 - fraction / 2, rtol=0, atol=5e-3)  # 400 rounds
