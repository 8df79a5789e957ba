"""Preferences: the leader learns a reward from labels of pairs of the follower's own steps (RLHF)."""

import dataclasses
from typing import Literal

from hfac import _checks
from hfac.control import environments
from hfac.control.pairs import logistic_loss, lost, random_segments
from hfac.control.problem import ControlProblem, Preferences
from hfac.control.problems._rewards import reward_model


def preferences(
    environment: str = "cartpole",
    leader: Literal["labels", "win_rate"] = "labels",
    pairs: Literal["policy", "anchored"] = "policy",
    num_anchors: int = 256,
    discount: float = 0.99,
    num_pairs: int = 64,
    segment: int = 16,
    rationality: float = 1.0,
    hidden: tuple[int, ...] = (32, 32),
    reward_hidden: tuple[int, ...] = (32, 32),
) -> ControlProblem:
    """Learn what is wanted from labels of pairs of segments, and a policy that does it (Christiano et al., 1706.03741).

        r_x = tanh(network),   labels:   f(x, pi) = E[ -log P_x(label of a pair of segments) ]
                               win_rate: f(x, pi) = P( an anchor is preferred to a segment of pi )

    Labels are drawn with P(first is better) = sigmoid(rationality (sum of its hidden rewards - the other's)). Of a
    policy's own pairs perfect ones tie, so that the loss of labels asks for policies that are easily told apart;
    anchored pairs do not have this flaw. The win rate says nothing of x itself: x matters through the policy alone.

    Args:
      environment: whose reward is hidden, one of `hfac.control.environments.REGISTRY`; or of another package, such as
        gymnax:Breakout-MinAtar, brax:reacher, jumanji:Snake-v1.
      leader: judged by how well r_x explains labels, or by how often the policy wins.
      pairs: both segments of the policy, or one of it and one of a fixed set of anchors, of a policy that acts at
        random.
      num_anchors: in that set, >= 1.
      discount: gamma in (0, 1).
      num_pairs: labels of every step, >= 1.
      segment: steps of a segment, >= 1.
      rationality: log-odds of a label per unit of hidden reward, >= 0.
      hidden: widths of the hidden layers of actors and critics.
      reward_hidden: of the reward.

    Raises:
      ValueError: if a number is out of range, or a win rate is asked for without anchors.
    """
    if leader == "win_rate" and pairs == "policy":
        raise ValueError("a policy wins half of the pairs with itself; write pairs='anchored' for leader='win_rate'")
    _checks.count("num_anchors", num_anchors)
    made = environments.make(environment)
    model = reward_model(made, reward_hidden)
    loss = lost if leader == "win_rate" else logistic_loss(model.reward)
    problem = ControlProblem(
        environment=made,
        reward=model.reward,
        init_x=model.init,
        preferences=Preferences(loss, num_pairs, segment, rationality),
        discount=discount,
        hidden=hidden,
        fixed_tau=0.01,
        name="preferences",
    )
    if pairs == "policy":
        return problem
    anchors = random_segments(problem, num_anchors, segment)
    return dataclasses.replace(problem, preferences=Preferences(loss, num_pairs, segment, rationality, anchors))
