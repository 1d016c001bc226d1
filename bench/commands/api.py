"""The commands as Python functions: `bench.compare`, `bench.load_records`, `bench.check` and `bench.check_meter`."""

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
"""Columns of the reports' data frame that hold mappings, or repeat other columns."""


@dataclass(frozen=True)
class Comparison:
    """A finished comparison.

    Attributes:
        out: the folder of the comparison.
        records: the records of all runs in the folder, including those of earlier comparisons.
        report: the paths of the files of the report.
        baseline: the method that the others are compared with; None: the one that stores the most parameters.
    """

    out: Path
    records: tuple[Record, ...]
    report: tuple[Path, ...]
    baseline: str | None = None

    def frame(self) -> pd.DataFrame:
        """Returns the runs as a data frame, one row for each run, like `load_records`."""
        return _frame(self.records, self.out)

    def table(self) -> str:
        """Writes the main table of each model and K in Markdown: mean scores and costs of each method."""
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
    """Trains and scores methods on tasks, and writes the report, as `bench compare` does.

    Runs whose records are already in the folder are not done again, so that the same call continues a comparison that
    was interrupted. Progress is printed to stderr. Each run has its own process; a script does not need
    `if __name__ == "__main__"` for that.

    Args:
        methods: specifications, such as `"lora[r=16]"` or `"my.py:Mine"`. For this argument and all that follow, None
            means the value of the preset.
        tasks: names, folders, or `file.py:NAME`.
        model: a name (`bench list models`), a folder, or a model of the hub.
        k: the number of training rows; `"all"`: all of them. A list is compared one after another.
        seeds: the number of seeds, which are counted from 0.
        data_seed: one seed for the draw of the rows, for all runs.
        model_seed: one seed for the training, for all runs.
        meters: meters to add to the shipped ones, such as `"my.py:Mine"`.
        preset: the ready-made comparison to start from; None: `quick`.
        method_defaults: name of a method -> hyper-parameters that hold where its specification sets none.
        trials: how many learning rates each method tries on each task before it is scored; None: it has one learning
            rate, which is not searched for.
        searches: how often the search is repeated; the seeds share the searches. None: one search for each seed.
        on: the executor that does the runs: its name, `NAME:ADDRESS`, or `"my.py:Mine"`; None: processes of this
            machine.
        jobs: how many runs are made side by side; of more than one no time and no energy is measured. With trials,
            these alone are made so. None: one.
        config: a file of fields, as `bench compare --config` reads it; arguments override its fields.
        out: the folder for the records and the report.
        baseline: the label of the method that the others are compared with; None: the one that stores the most
            parameters.
        settings: any other field by its name, such as `epochs=5`, `batch_size=8` or `energy=False`; docs/options.md
            lists all fields.

    Returns:
        The runs in the folder. A run that failed is a record with the reason; it raises no error.

    Raises:
        UserError: a name, field or value is unknown or not allowed. This is checked before the first run.

    Examples:
        >>> import bench
        >>> done = bench.compare(["head", "lora[r=2]"], preset="smoke", k=16, seeds=1, steps=2,
        ...                      costs=False, energy=False, effective=False, profile=False, out="out")
        >>> sorted((record.asked.method.label, record.status) for record in done.records)
        [('head', 'ok'), ('lora[r=2]', 'ok')]
        >>> [path.name for path in done.report if path.suffix in (".md", ".yaml")]
        ['report.md', 'config.yaml']
        >>> print(done.table())  # doctest: +ELLIPSIS
        ### Scores and costs: tiny, 16 training rows
        ...
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
    """Keeps child processes from running the script that called `compare`.

    multiprocessing passes the path of the main module to each child, and the child imports it. Without
    `if __name__ == "__main__"`, the script would then call `compare` again in every child. The children need nothing
    of the script.
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
    """Reads the runs of a comparison into a tidy data frame, with one row for each run and one column for each figure.

    The names of the columns contain the units (`wall_time_s`, `stored_bytes`). A figure that was not measured is
    missing and never 0. The time ratios of a profile in the folder are in the rows of the runs that they hold for.

    Args:
        out: the folder of the comparison.

    Raises:
        UserError: the folder has no records, or a damaged one.

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
    sorted_runs: pd.DataFrame = runs.sort_values(order, ignore_index=True)  # pandas' stubs say Any here
    return sorted_runs


def check(method: str | Method, architectures: Sequence[str] | None = None) -> list[Finding]:
    """Checks the promises that every method makes, on a small random model of each architecture.

    Args:
        method: a specification, such as `"my.py:Mine"`, or a method object.
        architectures: the architectures to check on, such as `["bert", "gpt2"]`; None: all of them.

    Returns:
        A finding for each promise on each architecture. Its `status` is `kept`, or `broken`, and then `says` tells what
        failed and where to look. An architecture that the method says it cannot adapt has one finding, `refused`, with
        the reason.

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
    from bench.contract.architectures import SMALL_MODELS, check_method
    from bench.errors import UserError, near
    from bench.registry.methods import resolve_method

    for name in architectures or ():
        if name not in SMALL_MODELS:
            raise UserError(f"architecture {name}{near(name, SMALL_MODELS)}; there is {', '.join(SMALL_MODELS)}")
    chosen = {name: SMALL_MODELS[name] for name in architectures or SMALL_MODELS}
    subject = resolve_method(method).method if isinstance(method, str) else method
    return list(check_method(subject, chosen))


def check_meter(meter: str | type[Meter]) -> list[str]:
    """Checks the promises that every meter makes: what it declares, and what it returns in a run that takes a second.

    Args:
        meter: a name, such as `"my.py:Mine"`, or the class.

    Returns:
        A line for each broken promise, with what failed; an empty list if all are kept.

    Raises:
        UserError: there is no such file or name.

    Examples:
        >>> import bench
        >>> bench.check_meter("flops")
        []
    """
    from bench.contract.meters import broken_promises

    return broken_promises(meter)
