"""Results on disk: parts that grow, grids that are put together again, damage that is named."""

import jax
import numpy as np
import pytest

from hfac import results, schedules
from hfac.results import RunTable, Store

SHAPE = {"x": jax.ShapeDtypeStruct((2,), np.float32), "status": jax.ShapeDtypeStruct((), np.int32)}
SETTINGS = {"entropy.scale": [0.1, 0.2], ("actor.scale", "critic.scale"): [(1.0, 2.0), (3.0, 4.0), (5.0, 6.0)]}


def table(seeds, settings=SETTINGS):
    return results.run_table(schedules.grid(schedules.attenuating(), settings)[1], np.asarray(seeds, np.int32))


def record(runs: RunTable, step: int):
    """A record that tells its run and step."""
    value = runs.labels["entropy.scale"] * 1000 + runs.labels["actor.scale"] * 10 + runs.labels["seed"] + step / 100
    return {"x": np.stack([value, -value], 1).astype(np.float32), "status": np.zeros(runs.num_runs, np.int32)}


def fill(part: results.Part, first: int = 0):
    for i in range(first, len(part.points)):
        step = int(part.points[i])
        part.write(i, record(part.table, step), np.full(part.table.num_runs, 2 * step))


def check(data, seeds, points):
    assert data["x"].dims == ("entropy.scale", "actor.scale", "seed", "step", "x_0")
    assert data["seed"].values.tolist() == seeds and data["step"].values.tolist() == points
    assert data["critic.scale"].dims == ("actor.scale",)
    for tau in data["entropy.scale"].values:
        for alpha in data["actor.scale"].values:
            one = data["x"].sel({"entropy.scale": tau, "actor.scale": alpha}).isel(x_0=0)
            expected = tau * 1000 + alpha * 10 + np.array(seeds)[:, None] + np.array(points)[None] / 100
            np.testing.assert_array_equal(one, expected.astype(np.float32))


def test_runs_in_any_order_make_the_same_grid(tmp_path):
    runs = table(range(5))
    order = np.random.default_rng(0).permutation(runs.num_runs)
    store = Store.create(tmp_path / "r.zarr", {"note": "kept"})
    for chosen in np.array_split(order, 4):
        fill(store.add(runs.take(np.sort(chosen)), SHAPE, np.array([0, 5]), 1))
    data = results.load(tmp_path / "r.zarr")
    check(data.sortby("seed").sortby("actor.scale"), list(range(5)), [0, 5])
    assert data.attrs["note"] == "kept" and data["samples"].isel(step=-1).values.min() == 10


def test_a_store_grows_by_seeds_settings_and_steps(tmp_path):
    path = tmp_path / "r.zarr"
    store = Store.create(path, {})
    fill(store.add(table(range(3)), SHAPE, np.array([0, 5]), 1))
    before = results.load(path)
    part = Store(path).parts[0]
    part.grow(np.array([0, 5, 10]))
    assert results.load(path)["step"].values.tolist() == [0, 5]  # not reached yet
    fill(part, 2)
    more = table(range(5))
    new = more.take(np.flatnonzero(more.labels["seed"] >= 3))
    fill(Store(path).add(new, SHAPE, np.array([0, 5, 10]), 1))
    data = results.load(path)
    check(data, list(range(5)), [0, 5, 10])
    assert before["x"].equals(data["x"].sel(seed=[0, 1, 2], step=[0, 5]))


def test_record_points_that_not_all_runs_reached_are_left_out(tmp_path):
    store = Store.create(tmp_path / "r.zarr", {})
    first, second = (store.add(table([seed]), SHAPE, np.array([0, 5, 10]), 1) for seed in (0, 1))
    with pytest.raises(ValueError, match="holds no records yet"):
        results.load(tmp_path / "r.zarr")
    fill(first)
    assert results.load(tmp_path / "r.zarr").sizes["seed"] == 1
    second.write(0, record(second.table, 0), np.zeros(6, int))
    assert results.load(tmp_path / "r.zarr")["step"].values.tolist() == [0]


def test_runs_that_fill_no_grid_are_named(tmp_path):
    store = Store.create(tmp_path / "r.zarr", {})
    fill(store.add(table(range(2)).take(np.arange(5)), SHAPE, np.array([0]), 1))
    with pytest.raises(ValueError, match="5 runs do not fill the grid"):
        results.load(tmp_path / "r.zarr")


@pytest.mark.parametrize("what", ["chunk", "array", "part", "root"])
def test_damage_is_one_line_that_names_the_place(tmp_path, what):
    path = tmp_path / "r.zarr"
    fill(Store.create(path, {}).add(table(range(2)), SHAPE, np.array([0, 5]), 1))
    files = {"root": path / "zarr.json", "part": path / "part-000" / "zarr.json"}
    files["array"] = path / "part-000" / "x" / "zarr.json"
    files["chunk"] = next(p for p in (path / "part-000" / "x" / "c").rglob("*") if p.is_file())
    content = bytearray(files[what].read_bytes())
    content[len(content) // 2] ^= 0xFF
    files[what].write_bytes(content if what == "chunk" else content[: len(content) // 2])
    with pytest.raises(ValueError, match="is damaged") as error:
        results.load(path)
    assert "\n" not in str(error.value) and str(path) in str(error.value)


def test_metrics_can_be_stored_again(tmp_path):
    path = tmp_path / "r.zarr"
    fill(Store.create(path, {}).add(table(range(2)), SHAPE, np.array([0, 5]), 1))
    for taus in ([0.1], [0.2, 0.3]):
        data = results.load(path).drop_dims("judged_tau", errors="ignore")
        worth = np.broadcast_to(np.array(taus), (*data["status"].shape, len(taus)))
        dims = (*data["status"].dims, "judged_tau")
        results.save(data.assign(worth=(dims, worth)).assign_coords(judged_tau=taus), path)
        found = results.load(path)
        np.testing.assert_array_equal(found["worth"].isel(step=0, seed=0)[0, 0], taus)
    part = Store(path).parts[0]
    part.grow(np.array([0, 5, 10]))
    fill(part, 2)
    assert "worth" not in results.load(path)  # they were of fewer steps


def test_an_unfinished_part_is_no_part(tmp_path):
    path = tmp_path / "r.zarr"
    store = Store.create(path, {})
    (path / "new-part-000").mkdir()
    assert Store(path).parts == []
    fill(store.add(table(range(2)), SHAPE, np.array([0]), 1))
    assert sorted(p.name for p in path.iterdir() if p.is_dir()) == ["part-000"]
