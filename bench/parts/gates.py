"""The gates of an adapted model: listing them, recording their values for each example, and replacing these.

The types build on each other: a `Gate` is a module that computes values; a `GateReader` is one gate of it, as a part
reads it; a `GateSite` is that gate with its place in the model and the parts behind it; a `GateLog` holds the values of
some sites over many forward passes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from methods.kit.gates import GateReader, TokenMean
from methods.kit.parts import Part


@dataclass(frozen=True)
class GateSite:
    """One gate of a model.

    Attributes:
        layer: index of its transformer layer; -1 outside the layers.
        part: name of what it gates: the kind of the parts, such as `lora`, with their site, such as `lora.query`, where
            a kind has several gates in one layer.
        reader: gives its value in the current forward pass.
        parts: the parts that it multiplies; two where the query and value of LoRA share one gate.
    """

    layer: int
    part: str
    reader: GateReader
    parts: tuple[Part, ...]

    @property
    def module(self) -> nn.Module:
        """The module that computes it; a forward hook on it sees or replaces the values (batch, count)."""
        return self.reader.module

    @property
    def mean(self) -> TokenMean:
        """The weights of the mean over tokens that it takes."""
        return self.reader.mean

    @property
    def column(self) -> int:
        """Its column in the values of its module, (batch, count)."""
        return self.reader.index

    @property
    def size(self) -> int:
        """How many parameters the parts behind it have."""
        return sum(part.size for part in self.parts)


def gate_sites(parts: Sequence[Part]) -> list[GateSite]:
    """Lists the gates of these parts, each once, in the order of the parts."""
    # Parts that read the same column of the same module share a gate.
    behind: dict[tuple[int, int], list[Part]] = {}
    for part in parts:
        if part.gate is not None:
            behind.setdefault((id(part.gate.reading), part.gate.index), []).append(part)
    kinds = [(group[0].layer, group[0].kind) for group in behind.values()]
    sites = []
    for group in behind.values():
        first = group[0]
        assert first.gate is not None
        several = kinds.count((first.layer, first.kind)) > 1
        name = f"{first.kind}.{first.site}" if several else first.kind
        sites.append(GateSite(-1 if first.layer is None else first.layer, name, first.gate, tuple(group)))
    return sites


@dataclass
class GateLog:
    """Collects the gate values of all forward passes while it is open, in the order of the examples."""

    sites: list[GateSite]
    _seen: dict[int, list[list[Tensor]]] = field(default_factory=dict)  # module -> pass -> calls, (batch, count)
    _passes: dict[int, Tensor] = field(default_factory=dict)

    def note(self, module: nn.Module, values: Tensor, entered: Tensor) -> None:
        """Keeps the values of one call of a gate module, (batch, count).

        Args:
            module: the gate module.
            values: what it gave.
            entered: an object that the backbone makes anew at the start of each forward pass; it tells passes apart.
        """
        passes = self._seen.setdefault(id(module), [])
        if self._passes.get(id(module)) is not entered:
            self._passes[id(module)] = entered
            passes.append([])
        passes[-1].append(values.detach())

    def values(self) -> Tensor:
        """Gives the values seen so far, (examples, gates), on the CPU; only this call copies them from the device.

        Of a gate that is computed several times in one forward pass, each example has the mean over these calls.

        Raises:
            ValueError: nothing has run, or a gate's calls in one pass differ in how many examples they have.
        """
        if not self._seen:
            raise ValueError("no forward pass ran while the gates were recorded")
        whole = {module: torch.cat([_mean(calls) for calls in passes]) for module, passes in self._seen.items()}
        return torch.stack([whole[id(site.module)][:, site.column] for site in self.sites], dim=1).float().cpu()

    def clear(self) -> None:
        """Forgets the values seen so far."""
        self._seen.clear()
        self._passes.clear()


def _mean(calls: list[Tensor]) -> Tensor:
    """The mean over the calls of one pass, (batch, count)."""
    if len({len(call) for call in calls}) > 1:
        sizes = " and ".join(str(len(call)) for call in calls)
        raise ValueError(f"a gate was computed for {sizes} examples in one forward pass, so it has no value for each")
    return calls[0] if len(calls) == 1 else torch.stack(calls).mean(dim=0)


@contextmanager
def recording(sites: Sequence[GateSite]) -> Iterator[GateLog]:
    """Records the gates in every forward pass inside the block; its hooks are removed at the end.

    The recorded values are those that act: where `replaced` is in force, they are the replacements.
    """
    log = GateLog(list(sites))

    def noting(mean: TokenMean) -> Callable[..., None]:
        # The mean's weights are made anew when a forward pass enters the backbone: one object a pass.
        return lambda module, _, values: log.note(module, values, mean.weights)

    with ExitStack() as stack:
        for site in {id(site.module): site for site in sites}.values():
            stack.callback(site.module.register_forward_hook(noting(site.mean)).remove)
        yield log


Replacement = Callable[[GateSite, Tensor], Tensor]
"""(gate, its learned values (batch,)) -> the values that act instead, (batch,)."""


@contextmanager
def replaced(sites: Sequence[GateSite], replacement: Replacement) -> Iterator[None]:
    """Makes other values act in place of the learned ones inside the block."""
    by_module: dict[int, list[GateSite]] = {}
    for site in sites:
        by_module.setdefault(id(site.module), []).append(site)

    def replace(module: nn.Module, _: object, values: Tensor) -> Tensor:
        columns = list(values.unbind(1))
        for site in by_module[id(module)]:
            columns[site.column] = replacement(site, columns[site.column]).to(values)
        return torch.stack(columns, dim=1)

    with ExitStack() as stack:
        for group in by_module.values():
            # It runs before all other hooks, so that a recorder sees the values that act.
            stack.callback(group[0].module.register_forward_hook(replace, prepend=True).remove)
        yield


@contextmanager
def skipping(sites: Sequence[GateSite], threshold: float) -> Iterator[None]:
    """Skips the work of parts, inside the block, for examples whose gate is not above `threshold`."""
    with ExitStack() as stack:
        for reader in {id(site.reader): site.reader for site in sites}.values():
            stack.callback(reader.skip_closed(threshold))
        yield


@contextmanager
def removed(parts: Sequence[Part]) -> Iterator[None]:
    """Takes the parts out of the model inside the block."""
    with ExitStack() as stack:
        for part in parts:
            stack.callback(part.remove())
        yield
