"""`bench profile`: times the steps of several methods against each other, in one process."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.commands.options import takes
from bench.records.spec import Measures, Protocol
from bench.records.study import checked

if TYPE_CHECKING:
    from bench.records.record import Profile, Timing


@takes(
    Protocol(),
    Measures(),
    only=("batch_size", "head", "device", "precision", "threads", "profile_rounds", "allocator"),
)
def profile(
    methods: Annotated[list[str], typer.Argument(help="Methods to time, such as full lora[r=16] my.py:Mine.")],
    model: Annotated[
        str, typer.Option("--model", "-m", help="A name (bench list models), a model of the hub, or a folder.")
    ] = "minilm-l6",
    tokens: Annotated[int, typer.Option(min=1, help="Length of the timed batches, in tokens.")] = 32,
    as_json: Annotated[bool, typer.Option("--json", help="Print the profile as JSON instead of a table.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of a comparison: the profile is also written to its folder profiles. [default: none]"
        ),
    ] = None,
    **settings: Any,
) -> None:
    """Times training steps and inference of several methods against each other.

    The methods take turns in every round, so that a change of the machine's speed affects all of them. Ratios between
    methods are therefore more reliable than the milliseconds.
    """
    from bench.meters.allocator import use

    given = {field: value for field, value in settings.items() if value is not None}
    protocol = checked(Protocol, {field: value for field, value in given.items() if field in Protocol.model_fields})
    measures = checked(Measures, {field: value for field, value in given.items() if field in Measures.model_fields})
    use(measures.allocator)  # before torch is imported and allocates

    from bench.costs.inspect import config_of
    from bench.costs.profile import profile as measure
    from bench.grid.plan import check_length, check_protocol
    from bench.grid.worker import quiet
    from bench.records.spec import ProfileShape
    from bench.records.store import write_profile
    from bench.registry.methods import resolve_method

    check_protocol(protocol)
    check_length(protocol.model_copy(update={"max_length": tokens}), config_of(model)[0], model)
    quiet()
    shape = ProfileShape(
        model=model,
        batch=protocol.batch_size,
        tokens=tokens,
        rounds=measures.profile_rounds,
        head=protocol.head,
    )
    profiled = measure([resolve_method(text).spec for text in methods], shape, protocol)
    if out is not None:
        write_profile(out, profiled)
    if as_json:
        print(profiled.model_dump_json(indent=1, exclude_none=True))
    else:
        _show(profiled)


def _show(profile: Profile) -> None:
    from reports.formats.text import terminal
    from reports.tables.table import Cell, Head, Table

    title = f"{profile.model}, batch {profile.batch} x {profile.tokens} tokens, {profile.threads} threads"
    heads = [Head("method", numeric=False)]
    for name in ("train step", "inference", "merged", "batch 1"):
        heads += [Head(name), Head("p50 / p95 ms")]
    rows = []
    for label, row in profile.rows.items():
        timings = (row.train_step, row.infer, row.infer_merged, row.infer_single)
        rows.append((Cell(label), *(Cell(text) for timing in timings for text in _cells(timing))))
    allocator = profile.environment["allocator"]
    title = f"{title}, {profile.device}, {allocator}, {profile.rounds} rounds"
    table = Table("profile", title, tuple(heads), tuple(rows))
    terminal(
        [table],
        [
            *([f"SUSPECT, measured twice: {profile.suspect}."] if profile.suspect else []),
            *([f"Measured a second time, for at first {profile.repeated}."] if profile.repeated else []),
            *(f"Not merged: {row.unmerged}." for row in profile.rows.values() if row.unmerged),
            *(
                f"{label}, no {figure.replace('_', ' ')}: {why}."
                for label, row in profile.rows.items()
                for figure, why in row.absent.items()
            ),
            f"Ratios: median over rounds, in brackets the 95% bootstrap interval, which holds within this process: "
            f"another may differ by more. Training: over "
            f"{profile.train_reference}. Inference: over {profile.infer_reference}. !: an interval wider than 10% "
            "of its ratio, or fewer than 10 rounds: measure again, alone on the machine. Milliseconds are this "
            "machine's.",
        ],
        width=170,  # four ratios with their intervals
    )


def _cells(timing: Timing | None) -> tuple[str, str]:
    from reports.columns.numerals import ABSENT, fixed, with_interval

    if timing is None:
        return ABSENT, ABSENT
    flag = " !" if timing.wide else ""
    ratio = with_interval(timing.ratio, timing.low, timing.high) + flag
    return ratio, f"{fixed(timing.p50_ms, 1)} / {fixed(timing.p95_ms, 1)}"
