"""What a method needs to know of its follower, as pure functions: every kind of problem provides one `Lower`.

A method never asks what its follower is made of. It draws batches, one for each policy that it tracks, sees what a
policy says along its own, and moves along the directions that come of it. A batch's weights make sums over it sample
means or, where everything is listed, expectations.
"""

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from hfac.types import Key, PyTree


class First(NamedTuple):
    """Where a run begins."""

    x: PyTree  # upper variable
    theta: PyTree  # policy
    value: PyTree  # critic
    chains: Any  # what sampling carries from step to step
    vitals: Any  # what the kind watches along a run, such as a distance from a reference


class Draw(NamedTuple):
    """What sampling hands to a step."""

    batches: tuple[Any, ...]  # one for each policy
    chains: Any  # to be carried
    num_samples: jax.Array  # int32 [], transitions or sequences used


class Lower(NamedTuple):
    """A lower level; `seen` is what `see` returned, `v` and `u` are critics, advantages have a batch's shape."""

    init: Callable[[Key], First]
    draw: Callable[..., Draw]  # (key, chains, *thetas) -> Draw
    see: Callable[..., Any]  # (theta, batch, options) -> what the policy says along its own batch, in this run
    advantage: Callable[..., jax.Array]  # (x, seen, v, tau) of r_x - tau log pi, or - tau KL to a reference
    leader_advantage: Callable[..., jax.Array]  # (x, seen, u) of the leader's cost, on f's own scale
    actor: Callable[..., PyTree]  # (x, seen, advantage, tau, w=None) -> ascent direction of J, or of J - w f
    critic: Callable[..., PyTree]  # (v, seen, advantage) -> semi-gradient
    hypergradient: Callable[..., PyTree]  # (x, seen, seen_pen, w): d_x f + difference of reward gradients / w
    central_hypergradient: Callable[..., PyTree] | None  # the same of pi_w and pi_-w; None where f has one place only
    upper_gradient: Callable[..., PyTree]  # (x, seen) -> d_x f(x, pi) alone
    mean: Callable[[Any, jax.Array], jax.Array]  # (seen, advantage) -> []
    look: Callable[..., dict[str, jax.Array]]  # (x, *seen) -> scalars worth looking at; the leader's of the last
    watch: Callable[[Any, Any], tuple[Any, jax.Array | None]]  # (vitals, seen) -> vitals, Status or None
    bounds: Callable[[Any], Mapping[str, jax.Array]]  # schedules -> half-widths of the critics' boxes, by variable
    project: Callable[..., PyTree]  # (params, update, bound or None) -> params
    true_advantage: Callable[..., jax.Array] | None = None  # as advantage, of what the leader wants in place of r_x


def build(problem: Any, method: str, num_policies: int, dtype: Any, options: Mapping[str, Any]) -> Lower:
    """The lower level of a problem, for a method that tracks so many policies.

    Args:
      problem: of any kind: it has a method `lower`.
      method: that asks, for messages.
      num_policies: that it tracks.
      dtype: of every float in a step.
      options: of the kind, by name, such as batch_size.

    Raises:
      ValueError: if the problem has no lower level, or does not have an option, or refuses its value.
    """
    if not hasattr(problem, "lower"):
        raise ValueError(
            f"{method} needs a problem with a lower level, such as hfac.Problem, got {type(problem).__name__}"
        )
    known = [name for name in inspect.signature(problem.lower).parameters if name not in ("num_policies", "dtype")]
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(known)}"
            raise ValueError(f"{method} has no option '{name}' on {type(problem).__name__}; {hint}")
    return problem.lower(num_policies=num_policies, dtype=dtype, **options)
