"""Checkpoints: whole or not there, checked when read, the older one used when the newer one is not what was written."""

import json
from typing import NamedTuple

import numpy as np
import pytest

from hfac.engine import Checkpoints, Snapshot

OWN = {"problem": "p", "algorithm_options": {"batch_size": 1}}


class State(NamedTuple):
    x: np.ndarray
    tables: dict
    nothing: tuple = ()


def snapshot(step: int) -> Snapshot:
    rng = np.random.default_rng(step)
    tables = {
        "a.b": rng.normal(size=(3, 2, 4)),
        "k": rng.integers(0, 9, 3).astype(np.int32),
        "on": np.array([True] * 3),
    }
    counts = np.arange(3, dtype=np.int64)
    return Snapshot(step, step // 2, counts, step * counts, State(rng.normal(size=(3, 5)).astype(np.float32), tables))


def same(first: Snapshot, second: Snapshot):
    import jax

    assert (first.step, first.point) == (second.step, second.point)
    assert jax.tree.structure(first) == jax.tree.structure(second)
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_array_equal(a, b, strict=not isinstance(a, int))


@pytest.fixture
def saved(tmp_path):
    checkpoints = Checkpoints(tmp_path / "c", OWN)
    for step in (10, 20, 30):
        checkpoints.save(snapshot(step))
    return checkpoints


def newest(checkpoints: Checkpoints):
    return checkpoints.folder / "0000000030"


def test_what_is_read_is_what_was_written(saved):
    found, refused = saved.latest(snapshot(0).states)
    assert refused == [] and saved.newest_step == 30
    same(found, snapshot(30))
    assert sorted(p.name for p in saved.folder.iterdir()) == ["0000000020", "0000000030"]


def test_nothing_is_nothing(tmp_path):
    checkpoints = Checkpoints(tmp_path / "c", OWN)
    assert checkpoints.latest(snapshot(0).states) == (None, []) and checkpoints.newest_step == 0


@pytest.mark.parametrize("how", ["flipped", "truncated", "missing", "no manifest", "half a manifest", "another format"])
def test_a_damaged_checkpoint_is_refused_with_the_reason_and_the_older_one_used(saved, how):
    folder = newest(saved)
    manifest = folder / "manifest.json"
    data = folder / "arrays.safetensors"
    content = bytearray(data.read_bytes())
    if how == "flipped":
        content[len(content) // 2] ^= 1
        data.write_bytes(content)
    elif how == "truncated":
        data.write_bytes(content[:-1])
    elif how == "missing":
        data.unlink()
    elif how == "no manifest":
        manifest.unlink()
    elif how == "half a manifest":
        manifest.write_text(manifest.read_text()[:40])
    else:
        manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format": "hfac checkpoint 0"}))
    found, refused = saved.latest(snapshot(0).states)
    same(found, snapshot(20))
    assert len(refused) == 1 and str(folder) in refused[0]
    assert saved.newest_step == 20
    saved.save(snapshot(25))  # the older one stays: there are two that are whole
    names = sorted(path.name for path in saved.folder.iterdir())
    assert names == ["0000000020", "0000000025", "damaged-0000000030"]


def test_a_foreign_checkpoint_is_refused(saved, tmp_path):
    other = Checkpoints(saved.folder, OWN | {"algorithm_options": {"batch_size": 2}})
    with pytest.raises(ValueError, match="it belongs to another run: algorithm_options was"):
        other.latest(snapshot(0).states)
    other.save(snapshot(40))
    found, refused = saved.latest(snapshot(0).states)  # the older one is its own
    assert found.step == 30 and "belongs to another run" in refused[0]


def test_states_of_another_shape_are_refused(saved):
    like = snapshot(0).states
    with pytest.raises(ValueError, match=r"state.x is float32 \[3, 5\], not float32 \[3, 6\]"):
        saved.latest(like._replace(x=np.zeros((3, 6), np.float32)))
    with pytest.raises(ValueError, match="the state of another method"):
        saved.latest(like._replace(tables={}))


def test_a_checkpoint_that_cannot_be_written_leaves_the_others(saved, monkeypatch):
    from hfac.engine import _checkpoint

    def full(path, arrays):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_checkpoint, "_write_arrays", full)
    with pytest.raises(OSError, match="No space left"):
        saved.save(snapshot(40))
    assert sorted(p.name for p in saved.folder.iterdir()) == ["0000000020", "0000000030"]
    same(saved.latest(snapshot(0).states)[0], snapshot(30))


def test_what_a_killed_process_left_half_written_is_no_checkpoint(saved):
    (saved.folder / "new").mkdir(parents=True)
    (saved.folder / "new" / "arrays.safetensors").write_bytes(b"half")
    assert saved.latest(snapshot(0).states)[0].step == 30
    saved.save(snapshot(40))
    assert saved.newest_step == 40
