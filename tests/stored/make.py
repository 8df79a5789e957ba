"""Small stored runs of the version that runs this, for `test_stored.py`: python -m tests.stored.make

Every run is finished; of `stopped`, the last checkpoint and what was judged are taken away again, as if it had been
killed before its end. A folder becomes one zip file, so that git holds a few files and not hundreds.
"""

import shutil
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).parent
SIZE = "--problem.size 4 --problem.landmark 3 3 --problem.hazard-rows 1 2 --problem.hazard-columns 1 2 --no-figures"
SWEEP = f"sweep goal_placement {SIZE} --steps 300 --seeds 2 --entropy 0.01 0.03 --no-cache --quiet"
RUNS = {
    "sweep": SWEEP,
    "stopped": SWEEP,
    "rates": f"rates goal_placement {SIZE} --steps 200 --seeds 2 --no-cache --quiet",
    "tune": f"tune goal_placement {SIZE} --samples 200 --budget 2e3 --rounds 1 --seeds 1 --search offset=300 "
    "--no-cache --quiet",
    "tweets": "tweets --vocabulary 40 --length 6 --layers 1 --width 8 --heads 2 --epochs 1 --steps 2 --seeds 1 "
    "--algorithm.batch-size 4 --algorithm.num-opponents 2 --no-figures --no-cache --quiet",
}


def make(name: str, folder: Path) -> None:
    """Run one of `RUNS` into a folder."""
    from hfac.cli import main
    from hfac.engine import _parts

    _parts.LEAST_SECONDS = 0.0  # a checkpoint at every record point
    main([*RUNS[name].split(), "--out", str(folder)])
    if name == "stopped":
        newest = max(path for path in (folder / "checkpoints" / "part-000").iterdir() if path.name.isdigit())
        shutil.rmtree(newest)
        shutil.rmtree(folder / "results.zarr" / "metrics")
        (folder / "summary.csv").unlink()
    shutil.rmtree(folder / "figures", ignore_errors=True)


def main() -> None:
    """Write every run as VERSION/NAME.zip."""
    from hfac import __version__

    (HERE / __version__).mkdir(exist_ok=True)
    for name in RUNS:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / name
            make(name, folder)
            with zipfile.ZipFile(HERE / __version__ / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as packed:
                for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"):
                    packed.write(path, str(path.relative_to(folder)))


if __name__ == "__main__":
    main()
