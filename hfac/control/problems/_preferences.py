"""Preferences: the leader learns a reward from labels of pairs of the follower's own steps (RLHF)."""

from hfac.control import environments
from hfac.control.pairs import logistic_loss
from hfac.control.problem import ControlProblem, Preferences
from hfac.control.problems._rewards import reward_model


def preferences(
    environment: str = "cartpole",
    discount: float = 0.99,
    num_pairs: int = 64,
    segment: int = 16,
    rationality: float = 1.0,
    hidden: tuple[int, ...] = (32, 32),
    reward_hidden: tuple[int, ...] = (32, 32),
) -> ControlProblem:
    """Learn what is wanted from labels of pairs of segments, and a policy that does it (Christiano et al., 1706.03741).

        r_x = tanh(network),   f(x, pi) = E[ -log P_x(label of a pair of segments of pi) ]

    Labels are drawn with P(first is better) = sigmoid(rationality (sum of its hidden rewards - the other's)).

    Args:
      environment: whose reward is hidden, one of `hfac.control.environments.REGISTRY`; or of another package, such as
        gymnax:Breakout-MinAtar, brax:ant, jumanji:Snake-v1.
      discount: gamma in (0, 1).
      num_pairs: labels of every step, >= 1.
      segment: steps of a segment, >= 1.
      rationality: log-odds of a label per unit of hidden reward, >= 0.
      hidden: widths of the hidden layers of actors and critics.
      reward_hidden: of the reward.

    Raises:
      ValueError: if a number is out of range.
    """
    made = environments.make(environment)
    model = reward_model(made, reward_hidden)
    return ControlProblem(
        environment=made,
        reward=model.reward,
        init_x=model.init,
        preferences=Preferences(logistic_loss(model.reward), num_pairs, segment, rationality),
        discount=discount,
        hidden=hidden,
        fixed_tau=0.01,
        name="preferences",
    )


preferences.kind = "control"  # type: ignore[attr-defined]
