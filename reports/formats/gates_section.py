"""The figures that `bench gates` left in OUT/gates, for the page, each with its sentence."""

from __future__ import annotations

import base64
from pathlib import Path

FIGURE_BYTES = 700_000
"""A larger figure is not embedded."""


def gate_figures(out: Path) -> list[dict[str, str]]:
    """The SVG files of OUT/gates as images; a browser runs no script inside an image."""
    figures = []
    for path in sorted((out / "gates").glob("*.svg")):
        if path.stat().st_size <= FIGURE_BYTES:
            data = base64.b64encode(path.read_bytes()).decode()
            figures.append({"link": f"data:image/svg+xml;base64,{data}", "says": says(path), "name": path.stem})
    return figures


def says(path: Path) -> str:
    """The sentence for a figure: the first line of text in the .txt or .md file of the same name."""
    for suffix in (".txt", ".md"):
        beside = path.with_suffix(suffix)
        if beside.is_file():
            lines = (line.strip() for line in beside.read_text("utf-8").splitlines())
            text = next((line for line in lines if line and line[0] not in "#|"), "")
            if text:
                return text
    title = path.stem.replace("_", " ").replace("-", " ")
    return f"{title}: see bench gates for what it shows and does not show."
