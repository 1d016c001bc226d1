"""Effective parameters: how many of the parameters that a method stores do something.

The counts are defined in docs/definitions.md. These functions count the parameters of parts; the caller adds what is
stored besides them, such as parameters of gates, which always count. The head is in no count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.parts.gates import GateSite, removed
from methods.kit.base import shared_names
from methods.kit.parts import Part

TAUS = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Thresholds of the active(tau) curve."""
RHOS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
"""Thresholds of the contributing(rho) curve."""


def active_parameters(values: np.ndarray, sizes: np.ndarray, tau: float) -> float:
    """The sum over gates of |theta| times the share of examples whose gate exceeds tau.

    >>> values = np.array([[0.9, 0.0], [0.9, 0.6]])  # two examples, two gates
    >>> active_parameters(values, np.array([100, 10]), tau=0.5)
    105.0

    Args:
        values: (examples, gates).
        sizes: (gates,), number of parameters behind each gate, |theta|.
        tau: the threshold.
    """
    return float((values > tau).mean(axis=0) @ sizes)


def soft_parameters(values: np.ndarray, sizes: np.ndarray) -> float:
    """The sum over gates of |theta| times the mean gate.

    >>> soft_parameters(np.array([[1.0, 0.0], [1.0, 0.5]]), np.array([100, 10]))
    102.5
    """
    return float(values.mean(axis=0) @ sizes)


def participation_ratio(values: np.ndarray) -> float | None:
    """`(sum g)^2 / sum g^2` over the mean gates g: the number of equal gates that would be as concentrated.

    None if all gates are zero.

    >>> participation_ratio(np.array([[1.0, 1.0, 0.0]]))
    2.0
    """
    means = values.mean(axis=0)
    squares = float((means**2).sum())
    return float(means.sum() ** 2 / squares) if squares > 0 else None


def contributing_parameters(contributions: np.ndarray, sizes: np.ndarray, rho: float) -> float:
    """The sum of |theta| over the parts whose mean contribution over examples exceeds rho.

    >>> contributing_parameters(np.array([[0.2, 0.01], [0.4, 0.01]]), np.array([100, 10]), rho=0.1)
    100.0

    Args:
        contributions: (examples, parts), as `contributions` measures them.
        sizes: (parts,), number of parameters of each part.
        rho: the threshold.
    """
    return float((contributions.mean(axis=0) > rho) @ sizes)


@dataclass
class ContributionLog:
    """Collects the contributions of parts over all forward passes while it is open."""

    parts: list[Part]
    _seen: dict[str, list[Squares]] = field(default_factory=dict)
    _mask: Tensor | None = None
    _shape: tuple[int, int] = (0, 0)
    _passes: int = 0
    _busy: bool = False

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Runs at the start of each forward pass of the whole model: keeps its shape (batch, tokens) and its mask."""
        inputs = [*args, kwargs.get("input_ids"), kwargs.get("inputs_embeds")]
        tokens = next(tensor for tensor in inputs if isinstance(tensor, Tensor))
        self._shape = tokens.shape[0], tokens.shape[1]
        self._mask = kwargs.get("attention_mask")
        self._passes += 1

    def note(self, name: str, output: Tensor, without: Tensor) -> None:
        """Adds one call of the site of a part, unless its output does not belong to the examples of the pass.

        Args:
            name: of the part.
            output: what the site gave, (batch, ...).
            without: what it gives for the same input without the part, in the same shape.
        """
        batch, tokens = self._shape
        for_all = output.dim() == 3 and output.shape[:2] == (1, tokens)  # position embeddings: one row serves them all
        if for_all:
            output, without = (tensor.expand(batch, -1, -1) for tensor in (output, without))
        elif output.shape[0] != batch or (output.dim() > 2 and output.shape[1] != tokens):
            return
        if self._mask is not None and output.dim() == 3:  # padding tokens count as 0 in both norms
            weights = self._mask.unsqueeze(-1).to(output.dtype)
            output, without = output * weights, without * weights
        passes = self._seen.setdefault(name, [])
        if not passes or passes[-1].number != self._passes:
            passes.append(Squares(self._passes))
        passes[-1].add((output - without).flatten(1).norm(dim=1), without.flatten(1).norm(dim=1))

    def values(self) -> np.ndarray:
        """The contributions, (examples, parts), in the order of the examples; NaN for a part whose site never ran."""
        ratios = {name: torch.cat([one.ratio() for one in passes]) for name, passes in self._seen.items()}
        unseen = torch.full_like(next(iter(ratios.values())), torch.nan) if ratios else torch.empty(0)
        return torch.stack([ratios.get(part.name, unseen) for part in self.parts], dim=1).cpu().numpy()


@dataclass
class Squares:
    """The squared norms for one part in one forward pass, summed over the calls of its site.

    Attributes:
        number: number of the forward pass.
        change: |y - y0|^2 of each example, (batch,), in double precision.
        scale: |y0|^2 of each example, (batch,).
    """

    number: int
    change: Tensor | float = 0.0
    scale: Tensor | float = 0.0

    def add(self, change: Tensor, scale: Tensor) -> None:
        """Adds the norms (batch,) of one call."""
        self.change = self.change + change.double() ** 2
        self.scale = self.scale + scale.double() ** 2

    def ratio(self) -> Tensor:
        """`|y - y0| / |y0|` over all calls, (batch,)."""
        change, scale = torch.as_tensor(self.change), torch.as_tensor(self.scale)
        return (change / scale.clamp_min(torch.finfo(scale.dtype).tiny)).sqrt().float()


@contextmanager
def contributions(parts: Sequence[Part], model: nn.Module) -> Iterator[ContributionLog]:
    """Measures, in every forward pass of `model` inside the block, the contribution of each part to each example.

    It is `|y - y0| / |y0|`, where y is the output of the site of the part and y0 its output for the same input without
    the part. Norms run over all tokens but padding. Where a site runs several times in a pass (a shared layer), the
    squares of both norms are summed over its calls. A call whose output has other examples or tokens than the pass
    (relative positions of DeBERTa, projected by the same weights) belongs to no example and is left out.

    Raises:
        ValueError: two parts have the same name.
    """
    if twice := shared_names(parts):
        raise ValueError(f"two parts are called {twice[0]}, so their contributions cannot be told apart")
    log = ContributionLog(list(parts))

    def measure(part: Part) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            if log._busy:  # an enclosing part is being measured, and this call is its forward pass without it
                return
            log._busy = True
            try:
                without = _first(part.without(*map(_uncached, args), **_without_cache(kwargs)))
            finally:
                log._busy = False
            log.note(part.name, _first(output), without)

        return hook

    with ExitStack() as stack:
        stack.callback(model.register_forward_pre_hook(log.enter, with_kwargs=True).remove)
        for part in parts:
            stack.callback(part.module.register_forward_hook(measure(part), with_kwargs=True).remove)
        yield log


def _uncached(argument: Any) -> Any:
    """Puts None in place of a key-value cache: the pass has filled it, and running a site again would append to it."""
    from transformers import Cache

    return None if isinstance(argument, Cache) else argument


def _without_cache(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments for running a site again without a key-value cache."""
    return {name: False if name == "use_cache" else _uncached(value) for name, value in kwargs.items()}


def _first(output: Any) -> Tensor:
    """The first tensor of the output of a module."""
    tensor = output if isinstance(output, Tensor) else output[0]
    assert isinstance(tensor, Tensor)
    return tensor


def greedy_removal(
    parts: Sequence[Part], contribution: Sequence[float], *, score: Callable[[], float | None], epsilon: float
) -> list[Part] | None:
    """Chooses parts to remove: one after another, the least contribution first, as long as the score holds.

    A part whose removal lowers the score too far is put back before the next one is tried. All parts are back at the
    end. The choice is fitted to the scored rows, so on other rows the score falls more: the choice proves nothing.

    Args:
        parts: of the trained model.
        contribution: the mean contribution of each; NaN comes last.
        score: computes the score of the model as it is now; None where it is undefined.
        epsilon: how far the score may fall below that of the whole model.

    Returns:
        The removed parts, in the order of removal; None if the score of the whole model is undefined.
    """
    before = score()
    if before is None:
        return None
    gone: list[Part] = []
    with ExitStack() as stack:
        for index in np.argsort(contribution, kind="stable"):
            restore = parts[int(index)].remove()
            after = score()
            if after is not None and after >= before - epsilon:
                gone.append(parts[int(index)])
                stack.callback(restore)
            else:
                restore()
    return gone


def removal_effects(sites: Sequence[GateSite], loss: Callable[[], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Measures how the loss of each example changes when the parts of a gate are really removed.

    Args:
        sites: the gates.
        loss: computes the loss of each example with the model as it is now, (examples,).

    Returns:
        The loss with everything in place (examples,), and its change for each gate (examples, gates).
    """
    whole = loss()
    changes = []
    for site in sites:
        with removed(site.parts):
            changes.append(loss() - whole)
    return whole, np.stack(changes, axis=1) if changes else np.empty((len(whole), 0))
