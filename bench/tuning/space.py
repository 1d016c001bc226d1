"""Which settings of a method are tried: axes of hyper-parameters, and independent draws that all methods share.

A draw is one uniform number in [0, 1) an axis; the axis maps it to a value. Every method gets the same numbers, so that
none is luckier than another: the third trial of each stands at the same quantile of its own range. The numbers of an
axis depend on the seed and on its place among the axes: more trials prolong them, and a further axis leaves them as
they are.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError, model_validator

from bench.errors import UserError, near
from bench.records.spec import Frozen

DIGITS = 4
"""Significant digits of a drawn number: it is the same on every machine, and short enough to be read in a label."""


class Axis(Frozen):
    """The values that one hyper-parameter may take: a range, or a list of choices.

    Examples:
        >>> Axis(low=1e-4, high=1e-2).at(0.5), Axis(low=0, high=0.2, scale="linear").at(0.25)
        (0.001, 0.05)
        >>> [Axis(choices=(4, 8, 16)).at(u) for u in (0.0, 0.34, 0.99)]
        [4, 8, 16]
    """

    low: float | None = None
    """The least value."""
    high: float | None = None
    """The greatest."""
    scale: Literal["log", "linear"] = "log"
    """What is uniform between them: the logarithm of the value, or the value."""
    choices: tuple[Any, ...] = ()
    """In place of a range: the values, each as likely as another."""

    @model_validator(mode="after")
    def _whole(self) -> Axis:
        if self.choices:
            if self.low is not None or self.high is not None:
                raise ValueError("give low and high, or choices, not both")
            if len(set(map(repr, self.choices))) < len(self.choices):
                raise ValueError("a choice stands there twice")
            return self
        if self.low is None or self.high is None:
            raise ValueError("give low and high, or choices")
        if not self.low < self.high:
            raise ValueError(f"low {self.low:g} is not below high {self.high:g}")
        if self.scale == "log" and self.low <= 0:
            raise ValueError(f"low {self.low:g} has no logarithm; give more than 0, or scale linear")
        return self

    def at(self, uniform: float) -> Any:
        """The value at a quantile, from 0 to 1, of the axis."""
        if self.choices:
            return self.choices[min(int(uniform * len(self.choices)), len(self.choices) - 1)]
        low, high = self._ends()
        value = low + uniform * (high - low)
        rounded = float(f"{10**value if self.scale == 'log' else value:.{DIGITS}g}")
        assert self.low is not None
        assert self.high is not None
        return min(max(rounded, self.low), self.high)

    def position(self, value: float) -> float:
        """The quantile of a value of a range: 0 at its low end, 1 at its high end.

        Examples:
            >>> round(Axis(low=1e-4, high=1e-2).position(1e-3), 12)
            0.5
        """
        low, high = self._ends()
        return ((math.log10(value) if self.scale == "log" else value) - low) / (high - low)

    def beyond(self, end: Literal["low", "high"], share: float) -> Axis:
        """The piece that adjoins the range at one end, so great a share of it: where a choice at that end is followed.

        Raises:
            UserError: the axis is a list of choices, or begins at 0, below which nothing is tried.

        Examples:
            >>> Axis(low=1e-4, high=1e-2).beyond("high", 0.5)
            Axis(low=0.01, high=0.1, scale='log', choices=())
        """
        if self.choices:
            raise UserError("a list of choices has no end to be extended at; name more choices")
        low, high = self._ends()
        step = share * (high - low)
        ends = (low - step, low) if end == "low" else (high, high + step)
        first, last = (float(f"{10**e if self.scale == 'log' else e:.{DIGITS}g}") for e in ends)
        assert self.low is not None
        if first < 0 <= self.low:
            if self.low == 0:
                raise UserError("the range begins at 0, and below it there is nothing to extend it to")
            first = 0.0
        return Axis(low=first, high=last, scale=self.scale)

    def _ends(self) -> tuple[float, float]:
        """The range on the scale on which it is uniform.

        Raises:
            UserError: the axis is a list of choices.
        """
        if self.low is None or self.high is None:
            raise UserError("a list of choices has no positions between its ends")
        return (math.log10(self.low), math.log10(self.high)) if self.scale == "log" else (self.low, self.high)


class Space(Frozen):
    """The axes that are searched, by the hyper-parameter that each sets.

    Examples:
        >>> space = space_of({"learning_rate": (1e-4, 3e-2, "log"), "r": [4, 8, 16]}, fields=["learning_rate", "r"])
        >>> space.settings(2, seed=0)
        [{'learning_rate': 0.002744, 'r': 4}, {'learning_rate': 0.005906, 'r': 8}]
    """

    axes: Annotated[dict[str, Axis], Field(min_length=1)]

    def settings(self, trials: int, *, seed: int, first: int = 0) -> list[dict[str, Any]]:
        """So many draws: hyper-parameter -> value.

        Args:
            trials: how many.
            seed: of the draws, the same for all methods.
            first: how many draws of this seed to pass over, where they have been made before.

        Raises:
            UserError: `trials` is not at least 1.
        """
        # By place and not by name: the first axis of every method has the same numbers, whatever it is called.
        drawn = uniforms(first + trials, [str(place) for place in range(len(self.axes))], seed)
        return [
            {name: axis.at(float(drawn[str(place)][at])) for place, (name, axis) in enumerate(self.axes.items())}
            for at in range(first, first + trials)
        ]


def space_of(declared: Mapping[str, Any], *, fields: Iterable[str]) -> Space:
    """Reads a space as a method or a file declares it.

    Args:
        declared: hyper-parameter -> `(low, high)`, `(low, high, "log" or "linear")`, a list of choices, or a mapping of
            the fields of `Axis`.
        fields: the hyper-parameters that the method has.

    Raises:
        UserError: there is no axis, no such hyper-parameter, or an axis that cannot be.

    Examples:
        >>> space_of({"learning_rate": (1e-3, 1e-4)}, fields=["learning_rate"])
        Traceback (most recent call last):
        bench.errors.UserError: space, learning_rate: low 0.001 is not below high 0.0001
    """
    available = list(fields)
    if not declared:
        raise UserError("space: it has no axis; give one, such as learning_rate: (1e-4, 3e-2)")
    axes = {}
    for name, given in declared.items():
        if name not in available:
            raise UserError(f"space, {name}: there is no such hyper-parameter{near(name, available)}")
        try:
            axes[name] = Axis.model_validate(_as_fields(given))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            said = str(first.get("ctx", {}).get("error", first["msg"]))
            raise UserError(f"space, {name}: {f'{where}: ' if where else ''}{said}") from error
    return Space(axes=axes)


def _as_fields(given: Any) -> Any:
    """The fields of `Axis`, from the shorter forms too."""
    if isinstance(given, Axis):
        return given.model_dump()
    if isinstance(given, tuple) and len(given) in (2, 3):
        return dict(zip(("low", "high", "scale"), given, strict=False))
    if isinstance(given, Sequence) and not isinstance(given, str):
        return {"choices": tuple(given)}
    return given


def uniforms(trials: int, axes: Iterable[str], seed: int) -> dict[str, NDArray[np.float64]]:
    """Independent uniform numbers in [0, 1), the same for every method: (trials,) an axis.

    They are the 53 high bits of PCG64's output, which numpy promises never to change.

    Args:
        trials: how many of each; a greater number prolongs the same sequence.
        axes: names of hyper-parameters.
        seed: of all of them.

    Raises:
        UserError: `trials` is not at least 1, or the seed is negative.

    Examples:
        >>> uniforms(2, ["learning_rate"], seed=0)["learning_rate"].round(6).tolist()
        [0.948892, 0.613061]
        >>> longer = uniforms(3, ["batch_size", "learning_rate"], seed=0)
        >>> longer["learning_rate"][:2].round(6).tolist()
        [0.948892, 0.613061]
    """
    if trials < 1:
        raise UserError(f"--trials {trials}: give at least 1")
    if seed < 0:
        raise UserError(f"seed {seed}: give 0 or more")
    drawn = {}
    for name in axes:
        key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
        bits = np.random.PCG64(np.random.SeedSequence([seed, key])).random_raw(trials)
        drawn[name] = np.right_shift(bits, np.uint64(11)) / 2.0**53
    return drawn


FIRST_TRIAL_SEED = 2**31
"""The seeds of trials start here, and those of the retrainings at 0: no retraining repeats a trial."""


def trial_seeds(trials: int, seed: int) -> list[int]:
    """The model seed of each trial, the same for every method.

    Each trial trains with a seed of its own: with one for all, the best of 12 would be the best for that seed's initial
    values and order of batches.

    Raises:
        UserError: as `uniforms`.

    Examples:
        >>> trial_seeds(3, seed=0) == trial_seeds(5, seed=0)[:3]
        True
        >>> min(trial_seeds(5, seed=0)) >= FIRST_TRIAL_SEED
        True
    """
    drawn = uniforms(trials, ["model_seed"], seed)["model_seed"]
    return [FIRST_TRIAL_SEED + int(uniform * FIRST_TRIAL_SEED) for uniform in drawn]
