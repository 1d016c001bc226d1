"""Errors that end a command with one line for the user, and functions that put other errors on one line."""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path


class UserError(Exception):
    """A mistake of the user. The message is one line that names the culprit and the remedy.

    The command line prints the message, without a traceback, and exits with code 2.
    """


class AlteredError(Exception):
    """A measurement changed the trained model, so that no figure of the run can be trusted."""


def escaped(text: str) -> str:
    r"""Escapes control characters as Python does, so that a terminal shows the text on one line and obeys none of it.

    >>> print(escaped("two\nlines"))
    two\nlines
    """
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape", "backslashreplace").decode() for sign in text
    )


_BENCH = Path(__file__).resolve().parent


def described(error: BaseException) -> str:
    """Describes an exception in one line, with the innermost line of code outside of bench and installed packages.

    That is usually the line of an author's method or meter that has to be mended.
    """
    from methods.kit.loading import said

    frames = traceback.extract_tb(error.__traceback__)
    authors = [
        frame
        for frame in frames
        if "site-packages" not in frame.filename and _BENCH not in Path(frame.filename).parents
    ]
    if not authors:
        return said(error)
    return f"{said(error)} ({Path(authors[-1].filename).name}, line {authors[-1].lineno})"


def near(name: str, names: Iterable[str]) -> str:
    """Returns `; did you mean ...?` with the most similar names, or an empty text if none is similar.

    >>> near("lroa", ["lora", "full"])
    '; did you mean lora?'
    """
    matches = get_close_matches(name, sorted(names), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(matches)}?" if matches else ""
