"""Effective parameters: how much of what a method stores does something, for every method alike.

Definitions in docs/definitions.md. Gate parameters and the head always count as active, so what is
counted here is the parts'; `other` is what is stored beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.gating.gates import GateSite, removed
from methods.base import Part

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
    """Contributions of the forward passes since it was opened.

    Attributes:
        mask: (batch, tokens) of the batch that runs now, so that padding is left out; None: all count.
    """

    parts: list[Part]
    mask: Tensor | None = None
    _seen: dict[str, list[Tensor]] = field(default_factory=dict)
    _busy: bool = False

    def values(self) -> np.ndarray:
        """(examples, parts), in the order of the examples seen."""
        return torch.stack([torch.cat(self._seen[part.name]) for part in self.parts], dim=1).cpu().numpy()


@contextmanager
def contributions(parts: Sequence[Part]) -> Iterator[ContributionLog]:
    """Measures, in every forward pass inside the block, what each part contributes.

    For each example: `|y - y0| / |y0|` with y the output of the part's site and y0 that without the part,
    on one and the same input; norms over all tokens that are no padding. A gate's own scale cancels out.
    """
    log = ContributionLog(list(parts))

    def measure(part: Part) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            if log._busy:  # this call is itself a measurement of an enclosing part
                return
            log._busy = True
            restore = part.remove()
            try:
                without = _first(module.forward(*args, **kwargs))
            finally:
                restore()
                log._busy = False
            log._seen.setdefault(part.name, []).append(_relative(_first(output), without, log.mask))

        return hook

    with ExitStack() as stack:
        for part in parts:
            stack.callback(part.module.register_forward_hook(measure(part), with_kwargs=True).remove)
        yield log


def _first(output: Any) -> Tensor:
    """The tensor of a module's output."""
    tensor = output if isinstance(output, Tensor) else output[0]
    assert isinstance(tensor, Tensor)
    return tensor


def _relative(output: Tensor, without: Tensor, mask: Tensor | None) -> Tensor:
    """`|output - without| / |without|` for each example, (batch,)."""
    if mask is not None and output.dim() == 3:
        weights = mask.unsqueeze(-1).to(output.dtype)
        output, without = output * weights, without * weights
    difference = (output - without).flatten(1).norm(dim=1)
    scale = without.flatten(1).norm(dim=1).clamp_min(torch.finfo(output.dtype).tiny)
    ratio: Tensor = (difference / scale).float()
    return ratio


@dataclass(frozen=True)
class Verified:
    """What is left after removing parts for as long as the dev score stays within epsilon.

    Attributes:
        epsilon: how far the score may fall, in its own unit.
        kept: names of the parts left, in the parts' order.
        parameters: of those parts.
        dev_before, dev_after: the score on the dev rows with all parts and with those left.
        test_before, test_after: the same on the test rows; checked once, at the end.
    """

    epsilon: float
    kept: tuple[str, ...]
    parameters: int
    dev_before: float
    dev_after: float
    test_before: float | None
    test_after: float | None


def verify(
    parts: Sequence[Part],
    contribution: Sequence[float],
    *,
    dev: Callable[[], float | None],
    test: Callable[[], float | None],
    epsilon: float,
) -> Verified | None:
    """Removes parts in the order of least contribution; one whose loss shows is put back and kept.

    Args:
        parts: of the trained model.
        contribution: the mean contribution of each on the dev rows.
        dev: scores the model as it is now on the dev rows; None where the score is undefined.
        test: the same on the test rows.
        epsilon: the most that the dev score may fall below that of the whole model.

    Returns:
        None if the whole model's dev score is undefined.
    """
    before, test_before = dev(), test()
    if before is None:
        return None
    gone: list[Part] = []
    after = before
    with ExitStack() as stack:
        for index in np.argsort(contribution, kind="stable"):
            restore = parts[int(index)].remove()
            score = dev()
            if score is not None and score >= before - epsilon:
                gone.append(parts[int(index)])
                stack.callback(restore)
                after = score
            else:
                restore()
        test_after = test()
    names = {part.name for part in gone}
    kept = [part for part in parts if part.name not in names]
    return Verified(
        epsilon=epsilon,
        kept=tuple(part.name for part in kept),
        parameters=sum(part.size for part in kept),
        dev_before=before,
        dev_after=after,
        test_before=test_before,
        test_after=test_after,
    )


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
