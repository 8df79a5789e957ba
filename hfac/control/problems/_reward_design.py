"""Reward design: the leader is judged by the hidden return and may pay the follower whatever helps it to learn."""

import jax
import jax.numpy as jnp

from hfac import _checks
from hfac.control import environments
from hfac.control.problem import ControlProblem
from hfac.control.problems._rewards import reward_model
from hfac.types import PyTree


def reward_design(
    environment: str = "cartpole",
    discount: float = 0.99,
    hidden: tuple[int, ...] = (32, 32),
    reward_hidden: tuple[int, ...] = (32, 32),
    first_rewards: float = 0.01,
) -> ControlProblem:
    """Design a reward whose best policy earns the most of another, hidden one.

        r_x = tanh(network),   f(x, pi) = -(1 - gamma) E[ sum_t gamma^t hidden reward ]

    Args:
      environment: whose reward is hidden, one of `hfac.control.environments.REGISTRY`; or of another package, such as
        gymnax:Breakout-MinAtar, brax:reacher, jumanji:Snake-v1.
      discount: gamma in (0, 1).
      hidden: widths of the hidden layers of actors and critics.
      reward_hidden: of the reward.
      first_rewards: size of the first ones, as a factor of the network's last layer, >= 0. Small ones leave the first
        follower as it is; large ones send it somewhere, which helps where a random one never earns anything else.

    Raises:
      ValueError: if a number is out of range.
    """
    _checks.number("first_rewards", first_rewards, "be finite and >= 0", 0)
    made = environments.make(environment)
    model = reward_model(made, reward_hidden, first_rewards)

    def cost(x: PyTree, obs: jax.Array, action: jax.Array, next_obs: jax.Array, hidden: jax.Array) -> jax.Array:
        del x, obs, action, next_obs
        return jnp.negative(hidden)

    return ControlProblem(
        environment=made,
        reward=model.reward,
        init_x=model.init,
        cost=cost,
        discount=discount,
        hidden=hidden,
        fixed_tau=0.01,
        name="reward_design",
    )
