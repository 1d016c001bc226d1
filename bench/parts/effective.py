"""Effective parameters: how much of what a method stores does something, for every method alike.

Definitions in docs/definitions.md. Gate parameters and the head always count as active, so what is
counted here is the parts'; `other` is what is stored beside them.
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
    """Sum over gates of |theta| times the share of examples whose gate exceeds tau.

    Args:
        values: (examples, gates).
        sizes: (gates,), parameters behind each gate.
        tau: the threshold.
    """
    return float((values > tau).mean(axis=0) @ sizes)


def soft_parameters(values: np.ndarray, sizes: np.ndarray) -> float:
    """Sum over gates of |theta| times the mean gate."""
    return float(values.mean(axis=0) @ sizes)


def participation_ratio(values: np.ndarray) -> float | None:
    """`(sum g)^2 / sum g^2` over the mean gates: how many gates share the work; None if all are zero."""
    means = values.mean(axis=0)
    squares = float((means**2).sum())
    return float(means.sum() ** 2 / squares) if squares > 0 else None


def contributing_parameters(contributions: np.ndarray, sizes: np.ndarray, rho: float) -> float:
    """Sum over parts of |theta| where the mean contribution over examples exceeds rho.

    Args:
        contributions: (examples, parts), as `contributions` measures them.
        sizes: (parts,).
        rho: the threshold.
    """
    return float((contributions.mean(axis=0) > rho) @ sizes)


@dataclass
class ContributionLog:
    """Contributions of the forward passes since it was opened."""

    parts: list[Part]
    _seen: dict[str, list[Squares]] = field(default_factory=dict)
    _mask: Tensor | None = None
    _shape: tuple[int, int] = (0, 0)
    _passes: int = 0
    _busy: bool = False

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Notes that a forward pass of the whole model begins, its shape (batch, tokens) and its mask."""
        inputs = [*args, kwargs.get("input_ids"), kwargs.get("inputs_embeds")]
        tokens = next(tensor for tensor in inputs if isinstance(tensor, Tensor))
        self._shape = tokens.shape[0], tokens.shape[1]
        self._mask = kwargs.get("attention_mask")
        self._passes += 1

    def note(self, name: str, output: Tensor, without: Tensor) -> None:
        """Adds a call of a part's site, unless what it returns does not belong to the pass's examples."""
        batch, tokens = self._shape
        for_all = output.dim() == 3 and output.shape[:2] == (1, tokens)  # position embeddings: one row serves them all
        if for_all:
            output, without = (tensor.expand(batch, -1, -1) for tensor in (output, without))
        elif output.shape[0] != batch or (output.dim() > 2 and output.shape[1] != tokens):
            return
        if self._mask is not None and output.dim() == 3:
            weights = self._mask.unsqueeze(-1).to(output.dtype)
            output, without = output * weights, without * weights
        passes = self._seen.setdefault(name, [])
        if not passes or passes[-1].number != self._passes:
            passes.append(Squares(self._passes))
        passes[-1].add((output - without).flatten(1).norm(dim=1), without.flatten(1).norm(dim=1))

    def values(self) -> np.ndarray:
        """(examples, parts), in the order of the examples seen; not a number for a part whose site never ran."""
        ratios = {name: torch.cat([one.ratio() for one in passes]) for name, passes in self._seen.items()}
        unseen = torch.full_like(next(iter(ratios.values())), torch.nan) if ratios else torch.empty(0)
        return torch.stack([ratios.get(part.name, unseen) for part in self.parts], dim=1).cpu().numpy()


@dataclass
class Squares:
    """Squared norms of one part's site in one forward pass, summed over the calls of the site.

    Attributes:
        number: of the pass.
        change: |y - y0|^2 of each example, (batch,), in double precision.
        scale: |y0|^2.
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
    """Measures, in every forward pass of `model` inside the block, what each part contributes.

    For each example: `|y - y0| / |y0|` with y the output of the part's site and y0 that without the part,
    on one and the same input; norms over all tokens that are no padding. A gate's own scale cancels out.
    Where a site runs several times in a pass (a shared layer), the squares of both norms are summed over its calls.
    A call whose output is not of the pass's examples and tokens (DeBERTa's relative positions, projected by the
    same weights) belongs to no example and is left out.
    """
    if twice := shared_names(parts):
        raise ValueError(f"two parts are called {twice[0]}, so their contributions cannot be told apart")
    log = ContributionLog(list(parts))

    def measure(part: Part) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            if log._busy:  # this call is itself a measurement of an enclosing part
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
    """None in place of a key-value cache: the pass has filled it, and running a site again would append to it."""
    from transformers import Cache

    return None if isinstance(argument, Cache) else argument


def _without_cache(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments for running a site again without a key-value cache."""
    return {name: False if name == "use_cache" else _uncached(value) for name, value in kwargs.items()}


def _first(output: Any) -> Tensor:
    """The tensor of a module's output."""
    tensor = output if isinstance(output, Tensor) else output[0]
    assert isinstance(tensor, Tensor)
    return tensor


def greedy_removal(
    parts: Sequence[Part], contribution: Sequence[float], *, score: Callable[[], float | None], epsilon: float
) -> list[Part] | None:
    """Removes parts in the order of least contribution; one whose loss shows is put back. All are back at the end.

    What is left is chosen on the scored rows, so on other rows its score is lower: only a choice, no evidence.

    Args:
        parts: of the trained model.
        contribution: the mean contribution of each; what is not a number comes last.
        score: scores the model as it is now; None where the score is undefined.
        epsilon: the most that the score may fall below that of the whole model.

    Returns:
        What was removed, in that order; None if the whole model's score is undefined.
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
    """What really happens to each example's loss when a gate's parts are removed.

    Args:
        sites: the gates.
        loss: the loss of each example with the model as it is now, (examples,).

    Returns:
        The loss with everything in place (examples,), and its change for each gate (examples, gates).
    """
    whole = loss()
    changes = []
    for site in sites:
        with removed(site.parts):
            changes.append(loss() - whole)
    return whole, np.stack(changes, axis=1) if changes else np.empty((len(whole), 0))
