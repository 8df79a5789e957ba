"""Files that are written whole or not at all."""

from pathlib import Path


def replace(path: Path, content: str | bytes) -> None:
    """Write a file beside its place, then move it there: whoever is killed meanwhile leaves the older one as it was.

    Raises:
      OSError: if it cannot be written.
    """
    unfinished = path.with_name(f"{path.name}.new")
    unfinished.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    unfinished.replace(path)
