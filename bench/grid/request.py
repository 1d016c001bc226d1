"""From the fields of a study to a request: the preset, then the file, then what is given besides."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.errors import UserError, near
from bench.grid.plan import Request
from bench.presets import DEFAULT_PRESET, PRESETS
from bench.records.spec import Measures, Protocol, option_of
from bench.records.study import (
    DECLARED,
    Fields,
    Place,
    Study,
    checked,
    override,
    read_studies,
    settings_of,
    several,
    sizes_of,
)
from bench.registry.executors import DEFAULT as ON


def requests_of(given: Mapping[str, Any], *, config: Path | None = None, place: Place = option_of) -> list[Request]:
    """What a file asks for, a request for each study in it, or what the preset asks for where there is no file.

    Args:
        given: field -> value; overrides the file.
        config: a file that `bench.records.study.read_studies` reads; None: there is none.
        place: what a message calls a field of `given`.

    Raises:
        UserError: an unknown field or a bad value; the line names the file, if it stands there, and the field.

    Examples:
        >>> (request,) = requests_of({"preset": "smoke", "methods": "lora", "steps": 3})
        >>> request.methods, request.protocol.steps, request.protocol.epochs
        (('lora',), 3, None)
    """
    if config is None:
        return [request_of(given, place)]

    def place_in_file(field: str) -> str:
        return place(field) if field in given else f"{config}: {field}"

    return [request_of(override(study, given), place_in_file) for study in read_studies(config)]


def request_of(fields: Mapping[str, Any], place: Place = option_of) -> Request:
    """The preset with what the fields override.

    Raises:
        UserError: an unknown field or a bad value.
    """
    for name in fields:
        if name not in DECLARED:
            raise UserError(f"{place(name)}: there is no such field{near(name, DECLARED)}")
    study = _study(fields, place)
    preset = study.preset or DEFAULT_PRESET
    if preset not in PRESETS:
        raise UserError(
            f"{place('preset')}: unknown preset {preset!r}{near(preset, PRESETS)}; there is {', '.join(PRESETS)}"
        )
    base = PRESETS[preset]
    data_seeds, model_seeds = _seeds(study, base.seeds, place)
    protocol = override(base.protocol.model_dump(), _of(Protocol, fields))
    return Request(
        methods=study.methods or base.methods,
        tasks=study.tasks or base.tasks,
        model=study.model or base.model,
        ks=base.ks if study.k is None else tuple(None if size == "all" else size for size in study.k),
        data_seeds=data_seeds,
        model_seeds=model_seeds,
        protocol=checked(Protocol, protocol, place=place),
        measures=checked(Measures, _of(Measures, fields), base=base.measures, place=place),
        method_defaults=base.method_defaults if study.method_defaults is None else study.method_defaults,
        on=study.on or ON,
        jobs=study.jobs or 1,
        trials=base.trials if study.trials is None else study.trials,
        searches=_searches(study, base.trials if study.trials is None else study.trials, len(data_seeds), place),
    )


def _of(model: type[Protocol] | type[Measures] | type[Study], fields: Mapping[str, Any]) -> Fields:
    return {name: value for name, value in fields.items() if name in model.model_fields}


def _study(fields: Mapping[str, Any], place: Place) -> Study:
    """What is compared, with one name or size alone as well as several."""
    values = {name: value for name, value in _of(Study, fields).items() if value is not None}
    for name in ("methods", "tasks"):
        if name in values:
            values[name] = several(values[name])
    if "k" in values:
        sizes = sizes_of(values["k"], place=place("k"))
        values["k"] = tuple("all" if size is None else size for size in sizes)
    return checked(Study, values, place=place)


def _seeds(study: Study, usual: int, place: Place) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The data seeds and the model seeds of the runs, pair by pair: each counts up from 0 unless it is held."""
    held = study.data_seed is not None and study.model_seed is not None
    if held and study.seeds is not None:
        names = f"{place('seeds')}, {place('data_seed')} and {place('model_seed')}"
        raise UserError(f"{names}: two of them leave nothing to vary; drop one")
    count = 1 if held else usual if study.seeds is None else study.seeds
    return (
        tuple(seed if study.data_seed is None else study.data_seed for seed in range(count)),
        tuple(seed if study.model_seed is None else study.model_seed for seed in range(count)),
    )


def _searches(study: Study, trials: int | None, seeds: int, place: Place) -> int | None:
    """How many searches there are.

    Raises:
        UserError: more than seeds, so that some would be for nothing, or without trials.
    """
    if study.searches is not None and trials is None:
        raise UserError(f"{place('searches')} {study.searches}: a search needs trials; give --trials too")
    if study.searches is not None and study.searches > seeds:
        raise UserError(
            f"{place('searches')} {study.searches}: there are {seeds} seeds to share them; give {seeds} at most"
        )
    return study.searches


def study_of(request: Request) -> Fields:
    """The fields that ask for a request again, every one of them stated; the opposite of `request_of`.

    Where the runs were done, and how many side by side, is left out: it is a matter of the machine at hand, and changes
    no score.

    Raises:
        ValueError: its seeds are neither counted from 0 nor held, so that no field says them.

    Examples:
        >>> study = study_of(request_of({"preset": "smoke", "k": [8, "all"]}))
        >>> study["k"], study["seeds"], study["epochs"], "steps" in study
        ([8, 'all'], 1, 8, False)
    """
    study: Fields = {
        "methods": list(request.methods),
        "tasks": list(request.tasks),
        "model": request.model,
        "k": ["all" if size is None else size for size in request.ks],
        **_seed_fields(request.data_seeds, request.model_seeds),
    }
    study |= {name: value for name in ("trials", "searches") if (value := getattr(request, name)) is not None}
    if request.method_defaults:
        study["method_defaults"] = request.method_defaults
    return {**study, **settings_of(request.protocol), **request.measures.model_dump(mode="json")}


def _seed_fields(data: tuple[int, ...], model: tuple[int, ...]) -> Fields:
    count = len(data)
    counted = tuple(range(count))
    if data == model == counted:
        return {"seeds": count}
    if count == 1:
        return {"data_seed": data[0], "model_seed": model[0]}
    if model == counted and set(data) == {data[0]}:
        return {"seeds": count, "data_seed": data[0]}
    if data == counted and set(model) == {model[0]}:
        return {"seeds": count, "model_seed": model[0]}
    raise ValueError(f"no fields ask for the pairs of seeds {list(zip(data, model, strict=True))}")
