"""A record is enough to ask for its run again: the command that a report gives leads to the same digests."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import methods
from bench import cli
from bench.errors import UserError
from bench.grid import plan as grid
from bench.grid import schedule
from bench.grid.executors import local as executor
from bench.grid.plan import Plan, Request
from bench.presets import PRESETS
from bench.records.spec import MethodSpec, Protocol, RunSpec
from bench.records.store import Record, RecordFolder, read_record
from bench.records.study import write_studies
from bench.registry.methods import resolve_method
from methods import BUILT_IN, VARIANTS
from reports.frame.environment import commands, studies
from tests.conftest import NoExecutor

PLUGIN = """
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal
from bench import Method

@dataclass(frozen=True, kw_only=True)
class Odd(Method):
    name: ClassVar[str] = "odd"
    words: str = "a"
    maybe: str | None = None
    either: bool | str = "x"
    sites: tuple[str, ...] = ("query",)
    sizes: tuple[int, ...] | None = None
    mode: Literal["none", "all"] = "none"
    scale: float = 2
    table: dict[str, Any] = field(default_factory=dict)

    def adapt(self, model): ...
"""

TEXTS = st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=12)
ODD = st.fixed_dictionaries(
    {},
    optional={
        "words": TEXTS,
        "maybe": st.none() | TEXTS | st.sampled_from(["none", "None", "null", "true", "1", "a,b=c", "]", '"']),
        "either": st.booleans() | TEXTS,
        "sites": st.lists(TEXTS, max_size=3).map(tuple),
        "sizes": st.none() | st.lists(st.integers(0, 99), max_size=3).map(tuple),
        "mode": st.sampled_from(["none", "all"]),
        "scale": st.floats(0, 1e6),
        "table": st.dictionaries(TEXTS, st.integers() | TEXTS | st.lists(TEXTS, max_size=2), max_size=2),
    },
)
PROTOCOLS = st.builds(
    lambda values, steps: Protocol.model_validate(
        values | ({"epochs": None, "steps": steps} if steps else {"epochs": values["epochs"]})
    ),
    st.fixed_dictionaries(
        {
            "dev": st.just("k") | st.integers(0, 30),
            "epochs": st.integers(1, 99),
            "batch_size": st.integers(1, 99),
            "eval_batch_size": st.integers(1, 99),
            "max_length": st.integers(1, 64),
            "warmup_share": st.floats(0, 1),
            "weight_decay": st.floats(0, 10),
            "max_gradient_norm": st.none() | st.floats(0, 10, exclude_min=True),
            "evaluations": st.none() | st.integers(1, 9),
            "patience": st.none() | st.integers(1, 9),
            "head_learning_rate": st.none() | st.floats(0, 1, exclude_min=True),
            "head": st.sampled_from(["mean", "cls", "last", "native"]),
            "device": st.sampled_from(["auto", "cpu"]),
            "threads": st.none() | st.integers(1, 9),
        }
    ),
    st.none() | st.integers(1, 99),
)
METHODS = st.sampled_from([*BUILT_IN, *VARIANTS, "lora[r=3,alpha=0.1,targets=q+k+v+o+ffn]", "adapter[reduction=16]"])
PAIRS = st.one_of(
    st.integers(1, 4).map(lambda n: [(seed, seed) for seed in range(n)]),
    st.tuples(st.integers(1, 4), st.integers(0, 9)).map(lambda t: [(t[1], seed) for seed in range(t[0])]),
    st.tuples(st.integers(1, 4), st.integers(0, 9)).map(lambda t: [(seed, t[1]) for seed in range(t[0])]),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2**63 - 1)), min_size=1, max_size=3, unique=True),
)
SIZES = st.lists(st.integers(1, 300) | st.none(), min_size=1, max_size=3, unique=True)


def record(run: RunSpec) -> Record:
    return Record(digest=run.digest, status="failed", asked=run, environment={}, started_at="2026-01-01")


class Planned(Exception):
    """Ends the command once it has its plan."""


def asked(words: list[str], out: Path, monkeypatch: pytest.MonkeyPatch) -> list[RunSpec]:
    """The runs that a command line asks for: read by the real command, planned by the real plan."""
    found: list[Plan] = []
    real = grid.plan

    def plan(request: Request) -> Plan:
        found.append(real(request))
        return found[-1]

    def run_grid(*arguments: Any) -> None:
        raise Planned

    with monkeypatch.context() as patch:
        patch.setattr(executor, "LocalExecutor", NoExecutor)
        patch.setattr(grid, "plan", plan)
        patch.setattr(schedule, "run_grid", run_grid)
        patch.setattr(sys, "argv", [*words, "--out", str(out)])
        with pytest.raises(Planned):
            cli.main()
    return [run for plan in found for run in plan.runs]


def again(runs: Sequence[RunSpec], out: Path, monkeypatch: pytest.MonkeyPatch) -> list[RunSpec]:
    """What the commands put together from the runs ask for; the file put together from them asks for the same."""
    records = [record(run) for run in runs]
    found: list[RunSpec] = []
    for command in commands(records):
        words = shlex.split(command)
        assert words[:2] == ["bench", "compare"]
        found += asked(words, out, monkeypatch)
    file = write_studies(out.parent / "again.yaml", studies(records))
    from_file = asked(["bench", "compare", "--config", str(file)], out, monkeypatch)
    assert [run.digest for run in from_file] == [run.digest for run in found]
    return found


SLOW = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@SLOW
@given(
    protocol=PROTOCOLS,
    names=st.lists(METHODS, min_size=1, max_size=2, unique=True),
    odd=ODD,
    pairs=PAIRS,
    ks=SIZES,
    preset=st.sampled_from(sorted(PRESETS)),
)
def test_the_command_put_together_from_records_asks_for_these_runs_and_no_others(
    protocol: Protocol,
    names: list[str],
    odd: dict[str, Any],
    pairs: list[tuple[int, int]],
    ks: list[int | None],
    preset: str,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path_factory.getbasetemp() / "a folder's [odd] name"
    shutil.rmtree(folder, ignore_errors=True)  # each comparison reads all studies of its folder: 40 examples add up
    folder.mkdir()
    plugin = folder.parent / "odd plugin.py"
    plugin.write_text(PLUGIN)
    settings = ",".join(f"{field}={'none' if value is None else json.dumps(value)}" for field, value in odd.items())
    request = Request(
        methods=(*names, f"{plugin}:Odd[{settings}]"),
        tasks=("synthetic",),
        model="tiny",
        ks=tuple(ks),
        data_seeds=tuple(data for data, _ in pairs),
        model_seeds=tuple(model for _, model in pairs),
        protocol=protocol,
        method_defaults=PRESETS[preset].method_defaults,
    )
    runs = grid.plan(request).runs
    fields = runs[-1].method.fields if runs[-1].method.name.endswith(":Odd") else {}
    assert {name: fields[name] for name in odd} == odd
    found = again(runs, folder / "out", monkeypatch)
    assert sorted(run.digest for run in found) == sorted(run.digest for run in runs)


def test_runs_that_are_no_product_take_several_commands_and_none_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_spec: Any
) -> None:
    runs = [make_spec("lora", k=24), make_spec("lora", k=40), make_spec("head", k=24), make_spec("head", seed=3)]
    runs += [make_spec("lora[r=2]", k=24, steps=3, epochs=None)]
    found = again(runs, tmp_path / "out", monkeypatch)
    assert {run.digest for run in found} == {run.digest for run in runs}
    assert len(found) == len({run.digest for run in found})


# Keys ------------------------------------------------------------------------------------------------------------

FIRST_FIELDS = {
    "majority": "",
    "head": "",
    "full": "",
    "bitfit": "",
    "adapter": "bottleneck reduction placement activation init_std",
    "prefix": "length hidden",
    "lora": "r alpha dropout targets",
    "unipelt": "parts gate gate_mean lora_gates prefix_gate bottleneck length hidden r alpha sparsity",
}
"""The hyper-parameters with which the first records were written."""


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_later_hyper_parameter_is_declared(name: str) -> None:
    """Else a method's new field gives each of its old records another key, and all of them are done again."""
    first = {"learning_rate", "head_learning_rate", *FIRST_FIELDS[name].split()}
    fields = resolve_method(name).spec.fields.keys()
    assert fields - first == methods.ADDED_FIELDS.get(name, {}).keys(), "declare it in methods.ADDED_FIELDS"


def spec(name: str = "lora", source: str = "built-in", **fields: Any) -> MethodSpec:
    return MethodSpec(name=name, label=name, source=source, fields=fields)


def test_a_later_hyper_parameter_changes_a_key_only_where_it_changes_the_method(
    monkeypatch: pytest.MonkeyPatch, make_spec: Any
) -> None:
    run = make_spec("lora[r=8]")

    def key(**fields: Any) -> str:
        return str(run.model_copy(update={"method": spec(**fields)}).digest)

    before, plain = key(r=8), key(r=8, rslora=False)
    assert plain != before  # undeclared, as the code of af299f5 always had it
    monkeypatch.setitem(methods.ADDED_FIELDS, "lora", {"rslora": False})
    assert key(r=8) == key(r=8, rslora=False) == before
    assert len({before, key(r=8, rslora=True), key(r=16, rslora=False), key(r=16, rslora=True)}) == 4
    assert spec(r=8).fields == {"r": 8, "rslora": False}
    assert spec(source="sha256:0", r=8).fields == {"r": 8}  # others' code is in the key itself


def test_a_default_that_changes_is_another_run(make_spec: Any) -> None:
    """Every first hyper-parameter is in the key with its value, whatever the default is or was."""
    run = make_spec("lora")
    for field, value in run.method.fields.items():
        changed = {**run.method.fields, field: "q" if isinstance(value, str) else 0.5}
        assert run.model_copy(update={"method": run.method.model_copy(update={"fields": changed})}).digest != run.digest


PROTOCOL_DEFAULTS = {
    "dev": 1000,
    "epochs": 10,
    "steps": None,
    "batch_size": 16,
    "eval_batch_size": 64,
    "max_length": 128,
    "warmup_share": 0.06,
    "weight_decay": 0.0,
    "max_gradient_norm": None,
    "evaluations": None,
    "patience": None,
    "head_learning_rate": 5e-3,
    "head": None,
    "precision": "float32",
    "device": "auto",
    "threads": None,
}


def test_no_default_of_the_protocol_ever_changes() -> None:
    """A field at its default is not in the key: a changed default would give two settings one key."""
    assert Protocol().model_dump().items() >= PROTOCOL_DEFAULTS.items()


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).resolve().parents[2] / "records").glob("*.json")), ids=lambda p: p.stem
)
def test_an_old_record_counts_as_finished_after_a_method_got_a_field(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = json.loads(path.read_text())
    name = old["asked"]["method"]["name"]
    monkeypatch.setitem(methods.ADDED_FIELDS, name, {"novel": 1.0})
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / f"{old['digest']}.json").write_text(path.read_text())
    asked = dict(old["asked"])
    asked["method"] = {**asked["method"], "fields": {**asked["method"]["fields"], "novel": 1.0}}
    now = RunSpec.model_validate(asked)
    assert now.digest == old["digest"]
    assert RecordFolder(tmp_path).finished() == {now.digest}
    assert read_record(tmp_path / "runs" / f"{old['digest']}.json").asked == now


def test_todays_plan_finds_the_records_of_af299f5(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written by `bench compare 'lora[r=4]' full --preset smoke --epochs 1 --k 16` of that commit."""
    words = shlex.split("bench compare lora[r=4] full --preset smoke --epochs 1 --k 16")
    runs = asked(words, tmp_path / "out", monkeypatch)
    assert {run.digest for run in runs} == {"46e1c9259e7a9f67", "4ebdb845dec85698"}


@pytest.mark.parametrize(
    "text",
    ["lora[alpha=inf]", "lora[alpha=nan]", "lora[learning_rate=-1]", "lora[learning_rate=0]", "full[learning_rate=inf]",
     "unipelt[sparsity=Infinity]", "head[head_learning_rate=0.0]"],
)  # fmt: skip
def test_a_number_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"finite|greater than 0"):
        resolve_method(text)


def test_presets_and_authors_defaults_are_looked_at_too(tmp_path: Path) -> None:
    path = tmp_path / "plugin.py"
    path.write_text(PLUGIN.replace("scale: float = 2", 'scale: float = float("inf")'))
    with pytest.raises(UserError, match=r"odd\[scale=inf\]: hyper-parameters must be finite"):
        resolve_method(f"{path}:Odd")
    with pytest.raises(UserError, match=r"lora\[learning_rate=-0.1\]: a learning rate must be more than 0"):
        resolve_method("lora", preset={"lora": {"learning_rate": -0.1}})
