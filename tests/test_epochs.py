"""Several passes over one draw: what moves, how far, and what the clipped surrogate rewards."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hfac
from hfac import algorithms, control
from support import cases

TINY = {"num_envs": 4, "num_steps": 6}
CLIP = 0.1


def problem():
    return control.tabular(cases.ending(), "one_hot", hidden=(4,))


def level(**changed):
    return problem().lower(**TINY | {"num_policies": 1, "normalize": False} | changed)


def test_actors_ascend_the_clipped_surrogate():
    made, rng = problem(), np.random.default_rng(0)
    lower = level(epochs=2, clip=CLIP)
    state = lower.init(jax.random.key(0))
    (batch,), _, _ = lower.draw(jax.random.key(1), state.chains, state.theta)
    theta = jax.tree.map(lambda leaf: leaf + jnp.asarray(rng.normal(0, 0.3, leaf.shape), leaf.dtype), state.theta)
    advantage = jnp.asarray(rng.normal(size=batch.weight.shape), jnp.float32)

    def surrogate(theta):
        outputs = jax.vmap(jax.vmap(lambda obs: made.policy.apply(theta, obs)))(batch.obs)
        log_prob = jnp.take_along_axis(jax.nn.log_softmax(outputs), batch.kept[..., None], -1)[..., 0]
        ratio = jnp.exp(log_prob - batch.log_prob)
        return jnp.sum(batch.weight * jnp.minimum(ratio * advantage, jnp.clip(ratio, 1 - CLIP, 1 + CLIP) * advantage))

    truth = jax.grad(surrogate)(theta)
    found = lower.actor(state.x, lower.see(theta, batch, {}), advantage, jnp.float32(0.1))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), found, truth)
    unclipped = level().actor(state.x, lower.see(theta, batch, {}), advantage, jnp.float32(0.1))
    assert any(
        np.any(np.abs(a - b) > 1e-4) for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(unclipped), strict=True)
    )


def flat(tree):
    leaves = [jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
              for leaf in jax.tree.leaves(tree)]  # fmt: skip
    return np.concatenate([np.ravel(leaf).astype(float) for leaf in leaves])


@pytest.mark.slow
def test_x_moves_once_a_draw_and_policies_in_every_pass():
    key, rates = hfac.run_key(0), cases.gentle()
    found, moved = {}, {"theta": [], "theta_pen": [], "value": [], "leader_value": []}
    for epochs in (1, 3):
        algorithm = algorithms.hfac(problem(), epochs=epochs, tail_average=0.5, **TINY)

        @jax.jit
        def once(key, step=algorithm.step, init=algorithm.init):
            first = init(key, rates)
            return first, *step(key, first, rates)

        first, last, info = once(key)
        found[epochs] = flat((algorithm.solution(last).x, last.inner.chains, last.step, info.num_samples))
        for name, distances in moved.items():
            distances.append(np.linalg.norm(flat(getattr(last.inner, name)) - flat(getattr(first.inner, name))))
    np.testing.assert_allclose(found[3], found[1], atol=1e-6)
    for name, (one, three) in moved.items():
        assert 0 < one < three, name


@pytest.mark.parametrize("wrong, words", [({"epochs": 0}, "epochs"), ({"clip": 1.0}, "clip must lie strictly between")])
def test_wrong_options_are_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        level(**wrong)
