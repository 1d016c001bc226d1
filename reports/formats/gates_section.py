"""The figures that `bench gates` left in OUT/gates, for the page, each with its sentence."""

from __future__ import annotations

import base64
from pathlib import Path

FIGURE_BYTES = 700_000
"""A larger figure is not embedded."""


def gate_figures(out: Path) -> list[dict[str, str]]:
    """Each SVG of OUT/gates as an image that can run nothing."""
    found = []
    for path in sorted((out / "gates").glob("*.svg")):
        if path.stat().st_size <= FIGURE_BYTES:
            data = base64.b64encode(path.read_bytes()).decode()
            found.append({"link": f"data:image/svg+xml;base64,{data}", "says": says(path), "name": path.stem})
    return found


def says(path: Path) -> str:
    """The sentence beside it: the first line of text of the markdown or text file of the same name."""
    for suffix in (".txt", ".md"):
        beside = path.with_suffix(suffix)
        if beside.is_file():
            lines = (line.strip() for line in beside.read_text("utf-8").splitlines())
            text = next((line for line in lines if line and line[0] not in "#|"), "")
            if text:
                return text
    title = path.stem.replace("_", " ").replace("-", " ")
    return f"{title}: see bench gates for what it shows and does not show."
