"""Errors that end the command with one line for the user, and errors of others as one line."""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path


class UserError(Exception):
    """One line that names the culprit and the remedy; the command line prints it and exits with 2."""


class AlteredError(Exception):
    """A measurement changed the trained model, so that none of the run's figures can be trusted."""


def escaped(text: str) -> str:
    """The text as one line that a terminal shows and does not obey: control characters as Python escapes them."""
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape", "backslashreplace").decode() for sign in text
    )


_OURS = Path(__file__).resolve().parent


def described(error: BaseException) -> str:
    """The exception in one line, and the innermost line of the author's own code that it passed through."""
    from methods.kit.loading import said

    frames = traceback.extract_tb(error.__traceback__)
    own = [
        frame for frame in frames if "site-packages" not in frame.filename and _OURS not in Path(frame.filename).parents
    ]
    return f"{said(error)} ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else said(error)


def near(name: str, known: Iterable[str]) -> str:
    """`; did you mean ...?` with the known names most like `name`, or nothing."""
    matches = get_close_matches(name, sorted(known), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(matches)}?" if matches else ""
