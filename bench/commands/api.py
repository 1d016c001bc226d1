"""The commands as functions of Python: `bench.compare`, `bench.load_records`, `bench.check`, `bench.check_meter`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from bench.contract.architectures import Finding
    from bench.meters.meter import Meter
    from bench.records.store import Record
    from methods.kit.base import Method

NOT_TIDY = ["absent", "declared", "seed"]
"""Columns of the reports' frame that hold mappings, or say again what others say."""


@dataclass(frozen=True)
class Comparison:
    """A finished comparison.

    Attributes:
        out: its folder.
        records: a record for each run in the folder, those of earlier comparisons included.
        report: the files of the report.
        baseline: the method that the others are compared with; None: the one that stores most.
    """

    out: Path
    records: tuple[Record, ...]
    report: tuple[Path, ...]
    baseline: str | None = None

    def frame(self) -> pd.DataFrame:
        """One row a run, as `load_records` gives it."""
        return _frame(self.records, self.out)

    def table(self) -> str:
        """The main table of each setting, in Markdown: mean score and costs of each method."""
        from reports.formats.text import markdown
        from reports.report import Report
        from reports.tables.tables import main

        report = Report(records=self.records, outs=[self.out], baseline=self.baseline)
        return "\n".join(markdown(main(panel)) for panel in report.panels)


def compare(
    methods: str | Sequence[str] | None = None,
    *,
    tasks: str | Sequence[str] | None = None,
    model: str | None = None,
    k: int | str | Sequence[int | str] | None = None,
    seeds: int | None = None,
    data_seed: int | None = None,
    model_seed: int | None = None,
    meters: str | Sequence[str] | None = None,
    preset: str | None = None,
    method_defaults: dict[str, dict[str, Any]] | None = None,
    trials: int | None = None,
    searches: int | None = None,
    on: str | None = None,
    jobs: int | None = None,
    config: str | Path | None = None,
    out: str | Path = "out",
    baseline: str | None = None,
    **settings: Any,
) -> Comparison:
    """Trains and scores methods on tasks, and writes the report: `bench compare` from Python.

    Runs that the folder holds already are not done again, so the same call goes on after an interruption. Progress
    goes to stderr. The runs happen in processes of their own; a script needs no `if __name__ == "__main__"`.

    Args:
        methods: specifications, such as `"lora[r=16]"` or `"my.py:Mine"`. What is not given here or in what
            follows is the preset's.
        tasks: names, folders, or `file.py:NAME`.
        model: a name, a folder, a hub id, or a random shape.
        k: training rows; `"all"`: all of them.
        seeds: how many, counted from 0.
        data_seed: one seed of the rows for all runs.
        model_seed: one seed of the training for all runs.
        meters: meters beside those that come along, such as `"my.py:Mine"`.
        preset: what to start from; None: `quick`.
        method_defaults: name of a method -> hyper-parameters that hold where its specification sets none.
        trials: how many values of its learning rate each method tries on each task before it is scored; None: it has
            the one that is set.
        searches: how many times the trials are made anew, shared by the seeds; None: one for each seed.
        on: what does the runs: an executor's name, `NAME:ADDRESS`, or `"my.py:Mine"`; None: processes of this machine.
        jobs: how many runs are made side by side; of more than one no time and no energy is measured. With trials,
            these alone are made so. None: one.
        config: a file of fields, as `bench compare --config` reads it; what is given besides overrides it.
        out: folder of the records and the report.
        baseline: label of the method that the others are compared with; None: the one that stores most.
        settings: any field of `Protocol` and `Measures` in bench/records/spec.py by its name, such as `epochs=5`,
            `batch_size=8` or `energy=False`; docs/options.md lists them.

    Returns:
        What is in the folder now. A run that failed is a record with its reason, not an error.

    Raises:
        UserError: an unknown name, field or value, before the first run.

    Examples:
        >>> import bench
        >>> done = bench.compare(["head", "lora[r=2]"], preset="smoke", k=16, seeds=1, steps=2,
        ...                      costs=False, energy=False, effective=False, profile=False, out="out")
        >>> sorted((record.asked.method.label, record.status) for record in done.records)
        [('head', 'ok'), ('lora[r=2]', 'ok')]
        >>> [path.name for path in done.report if path.suffix in (".md", ".yaml")]
        ['report.md', 'config.yaml']
        >>> print(done.table())  # doctest: +ELLIPSIS
        ### tiny, K=16, ...
        | method | synthetic (accuracy) | ...
    """
    from bench.grid.request import requests_of

    named: dict[str, Any] = {"preset": preset, "methods": methods, "tasks": tasks, "model": model, "k": k}
    named |= {"seeds": seeds, "data_seed": data_seed, "model_seed": model_seed, "method_defaults": method_defaults}
    named |= {"meters": meters, "on": on, "jobs": jobs, "trials": trials, "searches": searches}
    given = {field: value for field, value in named.items() if value is not None} | settings
    requests = requests_of(given, config=None if config is None else Path(config), place=str)

    from bench.commands.compare import carry_out
    from bench.records.store import claimed
    from reports.report import write

    with claimed(Path(out)) as folder:
        with _script_hidden(), redirect_stdout(sys.stderr):
            carry_out(requests, folder, baseline=baseline)
        records = folder.records()
        paths = write(records, folder.out, baseline=baseline)
    return Comparison(folder.out, tuple(records), tuple(paths), baseline)


@contextmanager
def _script_hidden() -> Iterator[None]:
    """Keeps child processes from importing the script that calls us.

    multiprocessing gives each child the path of the parent's main module, and the child runs it: without
    `if __name__ == "__main__"` the script would compare again in every child. Ours need nothing of it.
    """
    main = sys.modules["__main__"]
    hidden = {name: getattr(main, name) for name in ("__file__", "__spec__") if hasattr(main, name)}
    vars(main).pop("__file__", None)
    main.__spec__ = None
    try:
        yield
    finally:
        vars(main).update(hidden)


def load_records(out: str | Path) -> pd.DataFrame:
    """Reads the runs of a comparison into a tidy data frame: one row a run, one column a fact or figure.

    Units stand in the columns' names (`wall_time_s`, `stored_bytes`). A figure that was not measured is missing,
    never 0. The ratios of the profiles in the folder stand with the runs that they hold for.

    Args:
        out: the comparison's folder.

    Raises:
        UserError: it holds no records, or a damaged one.

    Examples:
        >>> import bench
        >>> done = bench.compare("head", preset="smoke", k=16, seeds=2, steps=2,
        ...                      costs=False, energy=False, effective=False, profile=False, out="out")
        >>> bench.load_records("out")[["method", "task", "k", "data_seed", "status"]]
          method       task   k  data_seed status
        0   head  synthetic  16          0     ok
        1   head  synthetic  16          1     ok
    """
    from bench.records.store import read_records

    return _frame(read_records(Path(out)), Path(out))


def _frame(records: Sequence[Record], out: Path) -> pd.DataFrame:
    from reports.frame.folders import read_profiles
    from reports.frame.frame import frame

    runs = frame(records, read_profiles([out])).drop(columns=NOT_TIDY, errors="ignore")
    order = ["method", "task", "model", "data_seed", "model_seed"]
    sorted_runs: pd.DataFrame = runs.sort_values(order, ignore_index=True)
    return sorted_runs


def check(method: str | Method, architectures: Sequence[str] | None = None) -> list[Finding]:
    """Checks what every method promises, on a small random model of every architecture.

    Args:
        method: a specification such as `"my.py:Mine"`, or a method itself.
        architectures: such as `["bert", "gpt2"]`; None: all that there are.

    Returns:
        A finding for each promise on each architecture: `kept`, `broken` with what failed and where to look, or
        `refused` with the reason, once for an architecture that the method says it cannot adapt.

    Raises:
        UserError: an unknown method or architecture.

    Examples:
        >>> import bench
        >>> findings = bench.check("bitfit", ["bert"])
        >>> [finding for finding in findings if finding.status == "broken"]
        []
        >>> findings[0]
        Finding(architecture='bert', check='pickles', status='kept', says='')
    """
    from bench.contract.architectures import ARCHITECTURES
    from bench.contract.architectures import check as run
    from bench.errors import UserError, near
    from bench.registry.methods import resolve_method

    for name in architectures or ():
        if name not in ARCHITECTURES:
            raise UserError(f"architecture {name}{near(name, ARCHITECTURES)}; there is {', '.join(ARCHITECTURES)}")
    chosen = {name: ARCHITECTURES[name] for name in architectures or ARCHITECTURES}
    subject = resolve_method(method).method if isinstance(method, str) else method
    return list(run(subject, chosen))


def check_meter(meter: str | type[Meter]) -> list[str]:
    """Checks what every meter promises: what it declares, and what it returns in a tiny run of a second.

    Args:
        meter: such as `"my.py:Mine"`, or the class itself.

    Returns:
        A line for each promise that it breaks, with what failed; empty: it keeps them all.

    Raises:
        UserError: there is no such file or name.

    Examples:
        >>> import bench
        >>> bench.check_meter("flops")
        []
    """
    from bench.contract.meters import broken_promises

    return broken_promises(meter)
