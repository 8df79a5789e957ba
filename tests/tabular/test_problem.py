import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hfac
from hfac.problems import goal_placement
from hfac.tabular.mdp import from_successors
from hfac.tabular.problem import on_batch, transition_table, weighted_grad
from hfac.types import Rows, Transition, densify
from support.helpers import FLOAT, ROUNDING

NEXT = np.array([[[0, 1], [1, 0]], [[0, 1], [1, 0]]])  # [S = 2, A = 2, K = 2]
PROBS = np.array([[[0.5, 0.5], [1.0, 0.0]], [[0.25, 0.75], [1.0, 0.0]]])
MDP = from_successors(NEXT, PROBS, [1.0, 0.0], 0.9)


def build(**change) -> hfac.Problem:
    parts = {
        "mdp": MDP,
        "reward": lambda x, s, a, s_next: x[s],
        "init_x": lambda key: jnp.zeros(2),
        "h": lambda x: jnp.sum(x**2),
    }
    return hfac.Problem(**{**parts, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"h": None}, "upper objective is empty; give at least one of h, cost, g"),
        ({"mdp": {"probs": PROBS}}, "mdp must be a TabularMDP, got dict"),
        ({"reward_bound": 0.0}, "reward_bound must be positive and finite, got 0.0; use None"),
        ({"reward_bound": -1.0}, "reward_bound must be positive and finite, got -1.0"),
        ({"cost_bound": float("inf")}, "cost_bound must be positive and finite, got inf"),
        ({"cost_bound": float("nan")}, "cost_bound must be positive and finite, got nan"),
        ({"reward": lambda x, s, a, s_next: x}, r"reward must return a scalar .* got shape \(2,\)"),
        ({"cost": lambda x, s, a, s_next: x[None, s]}, r"cost must return a scalar .* got shape \(1,\)"),
        ({"h": lambda x: x}, r"h must return a scalar, got shape \(2,\)"),
        ({"g": lambda x, pi: pi}, r"g must return a scalar, got shape \(2, 2\)"),
        ({"reward": lambda x, s, a, s_next: jnp.log(x[s])}, r"reward must be finite .* got -inf at .* \(0, 0, 0\)"),
        (
            {"cost": lambda x, s, a, s_next: jnp.where((s == 1) & (a == 0) & (s_next == 1), jnp.nan, x[s])},
            r"cost must be finite .* got nan at \(state, action, successor\) \(1, 0, 1\)",
        ),
        (
            {"reward": lambda x, s, a, s_next: x[s] + 2.0, "reward_bound": 1.0},
            r"reward_bound must be at least the largest \|reward\|, which is 2 for the first x, got 1; use None",
        ),
        (
            {"reward": lambda x, s, a, s_next: 1.0 if s == 0 else x[s]},
            r"reward cannot be compiled: it branches on a traced value .* \(test_problem.py:\d+: .*if s == 0",
        ),
        ({"h": lambda x: jnp.log(x[0])}, "h must be finite for the first x, got -inf"),
        ({"g": lambda x, pi: jnp.sum(pi) / x[0]}, "g must be finite for the first x, got inf"),
        ({"init_x": lambda key: jnp.zeros(2, jnp.int32)}, "init_x must return floating-point arrays, got int32"),
        ({"init_x": lambda key: {"a": jnp.zeros(2), "b": 3}, "h": None, "g": lambda x, pi: x["a"][0]}, "got int"),
    ],
)
def test_wrong_parts_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        build(**change)


@pytest.mark.parametrize("part", ["h", "cost", "g"])
def test_any_one_part_of_the_objective_will_do(part):
    functions = {"h": lambda x: x[0], "cost": lambda x, s, a, s_next: x[s], "g": lambda x, pi: x[0] * pi[0, 0]}
    assert getattr(build(**{"h": None, part: functions[part]}), part) is functions[part]


def test_impossible_transitions_may_be_infinite():
    problem = build(reward=lambda x, s, a, s_next: jnp.where((a == 1) & (s_next == 0), jnp.inf, x[s]))
    assert problem.reward(jnp.zeros(2), 0, 1, 0) == jnp.inf  # probability 0, so it is no fault


def test_x_may_be_a_tree():
    problem = build(
        init_x=lambda key: {"a": jnp.zeros(2), "b": jnp.ones(())},
        reward=lambda x, s, a, s_next: x["a"][s] * x["b"],
        h=lambda x: x["b"] ** 2,
    )
    x = {"a": jnp.array([1.0, 2.0]), "b": jnp.array(3.0)}
    grad = jax.jit(lambda x: hfac.exact.hypergradient(problem, x, 1.0))(x)
    np.testing.assert_allclose(grad["a"], 0, atol=ROUNDING)  # f does not depend on the policy
    np.testing.assert_allclose(grad["b"], 6, rtol=ROUNDING)


def test_a_problem_can_be_built_in_a_vmapped_function():
    def phi(mdp: hfac.TabularMDP) -> jax.Array:
        problem = build(mdp=mdp, h=None, cost=lambda x, s, a, s_next: jnp.asarray(s, x.dtype))
        return hfac.exact.upper_objective(problem, jnp.zeros(2), jnp.full((2, 2), 0.5))

    other = from_successors(NEXT, PROBS[::-1].copy(), [0.0, 1.0], 0.9)
    both = [m.astype(FLOAT) for m in (MDP, other)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *both)
    singly = jax.jit(phi)
    np.testing.assert_allclose(jax.jit(jax.vmap(phi))(stacked), [singly(m) for m in both], rtol=ROUNDING)


def test_transition_table_follows_the_successor_lists():
    table = transition_table(lambda x, s, a, s_next: x * (100 * s + 10 * a + s_next), MDP, 2)
    s, a, _ = np.indices(NEXT.shape)
    np.testing.assert_array_equal(table, 2 * (100 * s + 10 * a + NEXT))


# ------------------------------------------------------------------------------------------------------- gradients


def batch(num_states: int, num_actions: int, size: int = 50) -> tuple[Transition, jax.Array]:
    rng = np.random.default_rng(0)
    state, next_state = (jnp.asarray(rng.integers(num_states, size=size), jnp.int32) for _ in range(2))
    action = jnp.asarray(rng.integers(num_actions, size=size), jnp.int32)
    weights = jnp.asarray(rng.normal(size=size))
    return Transition(state, action, next_state, jnp.full(size, np.nan), jnp.full(size, np.nan)), weights


@pytest.mark.parametrize("masked", [False, True])
def test_goal_placement_gradient_equals_autodiff(masked):
    cells = np.arange(100).reshape(10, 10) % 3 > 0 if masked else None
    problem = goal_placement(goal_cells=cells)
    transitions, weights = batch(100, 4)
    x = jnp.asarray(np.random.default_rng(1).normal(size=100))
    given, autodiff = (
        jax.jit(lambda x, grad=grad: densify(x, weighted_grad(problem.reward, grad, x, transitions, weights)))(x)
        for grad in (problem.reward_grad, None)
    )
    np.testing.assert_allclose(given, autodiff, rtol=0, atol=ROUNDING)  # 50 terms below 0.1
    assert float(jnp.linalg.norm(given)) > 1e-3
    if masked:
        np.testing.assert_array_equal(given[~cells.ravel()], 0)


def test_a_gradient_may_come_as_rows():
    def reward(x: jax.Array, s: jax.Array, a: jax.Array, s_next: jax.Array) -> jax.Array:
        return x[s] ** 2 + x[s_next]

    def two_rows(x: jax.Array, s: jax.Array, a: jax.Array, s_next: jax.Array) -> Rows:
        return Rows(jnp.stack([s, s_next]), jnp.stack([2 * x[s], jnp.ones_like(x[s])]))

    transitions, weights = batch(6, 2)
    x = jnp.arange(6.0)
    given = weighted_grad(reward, two_rows, x, transitions, weights)
    assert given.index.shape == (100,)  # two rows of every transition
    autodiff = weighted_grad(reward, None, x, transitions, weights)
    np.testing.assert_allclose(densify(x, given), autodiff, rtol=0, atol=40 * ROUNDING)  # 50 terms up to 10
    hand = np.zeros(6)
    np.add.at(hand, np.asarray(transitions.state), np.asarray(weights * 2 * x[transitions.state]))
    np.add.at(hand, np.asarray(transitions.next_state), np.asarray(weights))
    np.testing.assert_allclose(autodiff, hand, rtol=0, atol=40 * ROUNDING)


@pytest.mark.parametrize("grad", ["autodiff", "given"])
def test_gradients_follow_the_dtype_of_x(grad):
    problem = goal_placement(size=4, landmark=(3, 3), hazard_rows=(1, 1), hazard_columns=(1, 2))
    transitions, weights = batch(16, 4)
    x = jnp.zeros(16, jnp.float32)
    function = problem.reward_grad if grad == "given" else None
    out = weighted_grad(problem.reward, function, x, transitions, weights.astype(jnp.float32))
    assert densify(x, out).dtype == jnp.float32
    assert on_batch(problem.cost, x, transitions, jnp.float32).dtype == jnp.float32


# --------------------------------------------------------------------------------------------------- goal placement

SMALL = {"size": 4, "landmark": (3, 3), "hazard_rows": (1, 2), "hazard_columns": (1, 1)}


def kernel(problem: hfac.Problem) -> np.ndarray:
    mdp = problem.mdp
    dense = np.zeros((mdp.num_states, mdp.num_actions, mdp.num_states))
    for s, a, k in np.ndindex(mdp.next_states.shape):
        dense[s, a, mdp.next_states[s, a, k]] += mdp.probs[s, a, k]
    return dense


def test_goal_placement_moves():
    dense = kernel(goal_placement(**SMALL, slip=0.2))
    # State 5 is cell (1, 1): up 1, right 6, down 9, left 4; 0.8 + 0.2 / 4 and 0.2 / 4.
    for action, target in enumerate((1, 6, 9, 4)):
        expected = np.zeros(16)
        expected[[1, 6, 9, 4]] = 0.05
        expected[target] = 0.85
        np.testing.assert_allclose(dense[5, action], expected, rtol=1e-15)
    # In the corner two of four moves stay.
    np.testing.assert_allclose(dense[0, 0][[0, 1, 4]], [0.9, 0.05, 0.05], rtol=1e-15)
    np.testing.assert_allclose(dense[0, 1][[0, 1, 4]], [0.1, 0.85, 0.05], rtol=1e-15)


@pytest.mark.parametrize("slip", [0.0, 1.0])
def test_goal_placement_slip_at_its_ends(slip):
    dense = kernel(goal_placement(**SMALL, slip=slip))
    np.testing.assert_allclose(dense[5, 0][[1, 4, 6, 9]], [1, 0, 0, 0] if slip == 0 else [0.25] * 4)


@pytest.mark.parametrize("start_mass", [0.0, 0.5, 1.0])
def test_goal_placement_start(start_mass):
    initial = goal_placement(**SMALL, start_mass=start_mass).mdp.initial
    np.testing.assert_allclose(initial[0], start_mass + (1 - start_mass) / 16, rtol=1e-15)
    np.testing.assert_allclose(initial[1:], (1 - start_mass) / 16, rtol=1e-15)


def test_goal_placement_cost_discount_and_regularization():
    problem = goal_placement(**SMALL, discount=0.8, landmark_utility=3.0, hazard_utility=-2.0, regularization=0.4)
    cost = np.asarray(transition_table(problem.cost, problem.mdp, jnp.zeros(16)))[:, 0, 0]
    expected = np.zeros(16)
    expected[15], expected[[5, 9]] = -3.0, 2.0  # landmark (3, 3); hazards (1, 1) and (2, 1)
    np.testing.assert_array_equal(cost, expected)
    assert problem.mdp.discount == 0.8
    assert (problem.cost_bound, problem.reward_bound) == (3.0, 1.0)
    assert problem.h(jnp.full(16, 0.5)) == pytest.approx(0.4 / 2 * 4, rel=ROUNDING)
    assert goal_placement(**SMALL, regularization=0.0).h is None
    assert problem.layout.marks == {"landmark": (15,), "hazard": (5, 9)}
    np.testing.assert_array_equal(problem.init_x(jax.random.key(0)), np.zeros(16))


def test_goal_placement_defaults():
    problem = goal_placement()
    assert (problem.mdp.num_states, problem.mdp.num_actions) == (100, 4)
    cost = np.asarray(transition_table(problem.cost, problem.mdp, jnp.zeros(100)))[:, 0, 0].reshape(10, 10)
    assert cost[9, 9] == -1
    assert (cost[3:7, 3:7] == 1).all()
    assert np.abs(cost).sum() == 17
    assert problem.h(jnp.ones(100)) == pytest.approx(0.5, rel=ROUNDING)  # 0.01 / 2 * 100


def test_goal_cells_carry_all_of_the_reward():
    cells = np.zeros((4, 4), bool)
    cells[0, 1] = cells[2, 3] = True
    problem = goal_placement(**SMALL, goal_cells=cells)
    x = jnp.asarray(np.random.default_rng(0).normal(size=16))
    field = np.asarray(problem.layout.field(x))
    np.testing.assert_array_equal(field > 0, cells.ravel())
    assert field[1] == pytest.approx(1 / (1 + np.exp(float(x[11] - x[1]))), rel=ROUNDING)  # softmax of two
    assert problem.reward(x, 0, 0, jnp.asarray(11)) == field[11]
    assert problem.reward(x, 0, 0, jnp.asarray(5)) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 1}, "size must be at least 2, got 1"),
        ({"slip": -0.1}, r"slip must lie in \[0, 1\], got -0.1"),
        ({"slip": float("nan")}, r"slip must lie in \[0, 1\], got nan"),
        ({"start_mass": 1.5}, r"start_mass must lie in \[0, 1\], got 1.5"),
        ({"discount": 1.0}, "discount must lie strictly between 0 and 1, got 1.0"),
        ({"regularization": -1.0}, "regularization must be finite and >= 0, got -1.0"),
        ({"regularization": float("inf")}, "regularization must be finite and >= 0, got inf"),
        ({"landmark": (4, 0)}, r"landmark must be two numbers in \[0, 4\), got \(4, 0\)"),
        ({"landmark": (-1, 0)}, r"landmark must be two numbers in \[0, 4\), got \(-1, 0\)"),
        ({"landmark": (1,)}, r"landmark must be two numbers in \[0, 4\), got \(1,\)"),
        ({"hazard_rows": (0, 4)}, r"hazard_rows must be two numbers in \[0, 4\), got \(0, 4\)"),
        ({"hazard_columns": (-2, 1)}, r"hazard_columns must be two numbers in \[0, 4\), got \(-2, 1\)"),
        ({"hazard_rows": (2, 1)}, r"hazard_rows .* got \(2, 1\)"),  # first and last the wrong way round
        ({"hazard_columns": (3, 0)}, r"hazard_columns .* got \(3, 0\)"),
        ({"landmark_utility": float("nan")}, "landmark_utility .* got nan"),
        ({"hazard_utility": float("inf")}, "hazard_utility .* got inf"),
        ({"goal_cells": np.zeros((4, 4), bool)}, r"goal_cells must be bool \[4, 4\] .* got 0 of 16"),
        ({"goal_cells": np.ones((3, 3), bool)}, r"goal_cells must be bool \[4, 4\] .* got 9 of 9"),
        ({"goal_cells": [3, 5]}, r"goal_cells must be bool \[4, 4\]"),
    ],
)
def test_goal_placement_refuses(change, message):
    with pytest.raises(ValueError, match=message):
        goal_placement(**{**SMALL, **change})
