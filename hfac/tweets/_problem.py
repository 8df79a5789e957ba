"""Happy tweets as a bi-level problem: a decoder writes, a rater judges, and the leader designs the decoder's reward."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from hfac.sequences.episodes import preference_loss
from hfac.sequences.policies import SequencePolicy
from hfac.sequences.problem import EpisodicProblem
from hfac.tweets._reward import init_reward, reward
from hfac.tweets.options import Leader, Pairs
from hfac.types import PyTree

SLOPE = 2.46  # log-odds of a preference per unit of compound, fitted on pairs of real tweets
RATING_SLOPE = 1.275  # the same per point of a mean human rating


def problem(
    policy: SequencePolicy,
    reference: PyTree,
    rater: Callable[[jax.Array], jax.Array],
    vocabulary: int,
    *,
    leader: Leader = "score",
    pairs: Pairs = "policy",
    anchors: np.ndarray | None = None,
    slope: float = SLOPE,
    ridge: float = 0.0,
) -> EpisodicProblem:
    """Build the experiment of Zeng et al. [2601.16399, section 6] with one of its leaders.

        score:       f(x, pi) = -E_pi[ rater(y) ] + ridge/2 |x|^2
        preference:  f(x, pi) = E_{y,y'}[ BT loss of R_x(y) - R_x(y') ] + ridge/2 |x|^2

    y' is the policy's too (`pairs="policy"`, the paper's), or from the corpus (`anchored`). A preference is
    P(y > y') = sigmoid(slope (rater(y) - rater(y'))), and f takes its expected loss. Know what the paper's f asks for:
    the happier a policy, the more alike its pairs, the nearer f to log 2.

    Args:
      policy: writes tweets.
      reference: its pretrained parameters.
      rater: score of one tweet [L].
      vocabulary: V.
      leader: score or preference.
      pairs: policy or anchored.
      anchors: tweets of the corpus [N, L], for anchored pairs.
      slope: log-odds of a preference per unit of the rater's score.
      ridge: weight of |x|^2 / 2, >= 0.

    Raises:
      ValueError: if an option is none of these.
    """
    if leader not in ("score", "preference"):
        raise ValueError(f"leader must be 'score' or 'preference', got '{leader}'")
    if pairs not in ("policy", "anchored"):
        raise ValueError(f"pairs must be 'policy' or 'anchored', got '{pairs}'")
    if pairs == "anchored" and anchors is None:
        raise ValueError("anchored pairs need anchors, tweets of the corpus")
    if ridge < 0:
        raise ValueError(f"ridge must be at least 0, got {ridge}")

    def cost(x: PyTree, tokens: jax.Array, score: jax.Array) -> jax.Array:
        del x, tokens
        return -score

    def disagreement(x: PyTree, y: jax.Array, score: jax.Array, other: jax.Array, other_score: jax.Array) -> jax.Array:
        gap = reward(x, y) - reward(x, other)
        preferred = jax.nn.sigmoid(slope * (score - other_score))
        return preference_loss(gap, preferred)

    is_anchored = leader == "preference" and pairs == "anchored"
    return EpisodicProblem(
        policy,
        reference,
        reward,
        lambda key: init_reward(key, vocabulary),
        h=(lambda x: ridge / 2 * optax.tree.norm(x, squared=True)) if ridge > 0 else None,
        rating=rater,
        cost=cost if leader == "score" else None,
        pair_loss=disagreement if leader == "preference" else None,
        anchors=jnp.asarray(anchors) if is_anchored else None,
    )
