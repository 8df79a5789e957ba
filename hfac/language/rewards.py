"""Rewards of completions: linear in pooled hidden states of the base, or a decoder with adapters of its own."""

import dataclasses
import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from hfac import _files
from hfac._compiler import random
from hfac.language import adapters, decoder, policies
from hfac.language.policies import Adapted
from hfac.language.problem import Anchors, Written
from hfac.sequences.episodes import preference_loss
from hfac.types import Key, PyTree

HEAD, ABOUT = "head.safetensors", "reward.json"
FIT_STEPS = 60  # of a descent with curvature; the loss is convex
EPSILON = 1e-6  # of the normalisation of hidden states


@dataclasses.dataclass(frozen=True, eq=False)
class Linear:
    """x . mean over a completion of the base's hidden states where the adapters begin, each of unit mean square."""

    policy: Adapted

    def over(self, policy: Adapted) -> "Linear":
        """The same reward beside another policy."""
        return dataclasses.replace(self, policy=policy)

    def init(self, key: Key) -> jax.Array:
        """Zero, float32 [d]."""
        del key
        return jnp.zeros(self.policy.architecture.width, jnp.float32)

    def features(self, written: Written) -> jax.Array:
        """Pooled hidden states, float32 [G, N, d]."""
        return _pooled(written.memory, written.is_written)

    def __call__(self, x: PyTree, features: jax.Array) -> jax.Array:
        """R_x, [...]."""
        return features @ x

    def with_head(self, x: PyTree, head: jax.Array) -> PyTree:
        """The same x with another head, [d]."""
        del x
        return head

    def pooled(self, x: PyTree, features: jax.Array) -> jax.Array:
        """What the head is multiplied with, [..., d]."""
        del x
        return features


class Read(NamedTuple):
    """What a reward with adapters goes on from."""

    hidden: jax.Array  # [G, N, T, d], where the adapters begin
    is_written: jax.Array  # bool [G, N, T]
    prompt: jax.Array  # int32 [G, N]


@dataclasses.dataclass(frozen=True, eq=False)
class Tuned:
    """The same of the last hidden states, with adapters of its own on the layers that the policies adapt.

    x is {"head": [d], "lora": adapters}.
    """

    policy: Adapted

    def over(self, policy: Adapted) -> "Tuned":
        """The same reward beside another policy."""
        return dataclasses.replace(self, policy=policy)

    def init(self, key: Key) -> PyTree:
        """A head of zeros, adapters that add nothing yet."""
        shape = self.policy.architecture
        return {"head": jnp.zeros(shape.width, jnp.float32), "lora": adapters.init(shape, self.policy.lora, key)}

    def features(self, written: Written) -> Read:
        """What is read below the adapters, leaves [G, N, ...]."""
        prompt = jnp.broadcast_to(written.prompt[:, None], written.tokens.shape[:2])
        return Read(written.memory, written.is_written, prompt)

    def __call__(self, x: PyTree, features: Read) -> jax.Array:
        """R_x, [G, N]."""
        return self.pooled(x, features) @ x["head"]

    def with_head(self, x: PyTree, head: jax.Array) -> PyTree:
        """The same x with another head, [d]."""
        return {**x, "head": head}

    def pooled(self, x: PyTree, features: Read) -> jax.Array:
        """What the head is multiplied with, [G, N, d]."""
        start = features.hidden.astype(self.policy.params["embed"].dtype)
        return _pooled(self.policy.read(x["lora"], features.prompt[:, 0], start), features.is_written)


def _pooled(hidden: jax.Array, is_written: jax.Array) -> jax.Array:
    """Mean over completions of hidden states [G, N, T, d] of unit mean square each, float32 [G, N, d]."""
    wide = hidden.astype(jnp.float32)
    ones = jnp.ones(wide.shape[-1], jnp.float32)
    return policies.pooled(decoder.rms_norm(wide, ones, EPSILON), is_written)


def make(policy: Adapted, has_adapters: bool) -> Any:
    """The reward of a problem."""
    return Tuned(policy) if has_adapters else Linear(policy)


def fitted(reward: Any, anchors: Anchors, slope: float, ridge: float) -> PyTree:
    """The first x: its head has the least log-loss, with its ridge, of preferences among the anchors of each prompt.

    Args:
      reward: of which x is.
      anchors: of every prompt.
      slope: log-odds of a preference per unit of score.
      ridge: weight of |head|^2 / 2.
    """
    x = reward.init(random.key(0))
    pooled = reward.pooled(x, anchors.features)
    preferred = jax.nn.sigmoid(slope * (anchors.score[:, :, None] - anchors.score[:, None]))

    def loss(head: jax.Array) -> jax.Array:
        worth = pooled @ head
        each = preference_loss(worth[:, :, None] - worth[:, None], preferred)
        return jnp.mean(each) + ridge / 2 * jnp.sum(head**2)

    optimizer = optax.lbfgs()

    @jax.jit
    def descend(head: jax.Array) -> jax.Array:
        def step(carry: tuple[jax.Array, Any], _: None) -> tuple[tuple[jax.Array, Any], None]:
            head, moments = carry
            value, grad = optax.value_and_grad_from_state(loss)(head, state=moments)
            update, moments = optimizer.update(grad, moments, head, value=value, grad=grad, value_fn=loss)
            return (head + update, moments), None

        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            (found, _), _ = jax.lax.scan(step, (head, optimizer.init(head)), None, FIT_STEPS)
        return found

    return reward.with_head(x, descend(jnp.zeros(pooled.shape[-1], jnp.float32)))


def save(folder: Path, x: PyTree, policy: Adapted, base: str, digest: str) -> None:
    """Write a reward: its head, what it is, and its adapters in PEFT's format where it has some.

    Args:
      folder: that holds none.
      x: upper variable.
      policy: that it was learned beside.
      base: name or path of the model.
      digest: of its weights.
    """
    from safetensors.flax import save as written

    is_tuned = isinstance(x, dict)
    if is_tuned:
        adapters.save(folder, x["lora"], policy.lora, base, digest)
    where = "after the last layer, with these adapters" if is_tuned else "before the first layer with an adapter"
    about = {
        "formula": "R(y) = head . mean over the tokens of y of h / rms(h)",
        "hidden": f"h of the base {where}",
        "layer": policy.architecture.layers if is_tuned else policy.first_adapted,
        "epsilon": EPSILON,
    }
    head = jnp.asarray(x["head"] if is_tuned else x)
    folder.mkdir(parents=True, exist_ok=True)
    _files.replace(folder / HEAD, written({"head": head}))
    _files.replace(folder / ABOUT, json.dumps(about, indent=2) + "\n")
