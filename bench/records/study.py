"""A comparison as named fields: the options of the command line, a file, and the keywords of Python are the same.

`Study`, `Protocol` and `Measures` declare the fields. Their types, defaults and docstrings make the options
(bench/commands/options.py), the file, its error messages, and the command that asks for a run again.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from bench.errors import UserError, near
from bench.records.spec import Frozen, Measures, Protocol, option_of

Fields = dict[str, Any]
"""Field -> value. A field that is not there is left to the preset."""
Place = Callable[[str], str]
"""What a message calls a field: `--epochs`, or `study.yaml: epochs`."""

CONFIG = "config.yaml"
"""Stands in a comparison's folder and asks for all of it again."""

Model = TypeVar("Model", bound=BaseModel)


class Study(Frozen):
    """What is compared. How it is trained and measured are the fields of `Protocol` and `Measures`."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    preset: str | None = None
    """The ready-made comparison that the other fields change."""
    methods: tuple[str, ...] | None = None
    """Methods, such as full lora[r=16,alpha=32] my.py:Mine; those of the preset if there is none."""
    tasks: tuple[str, ...] | None = None
    """A task: a name, a folder, or file.py:NAME. Several may be given."""
    model: str | None = None
    """A name, a folder, a hub id, or a random shape (bench list models)."""
    k: tuple[int | Literal["all"], ...] | None = None
    """Training rows: a number or all. Several may be given."""
    # All runs of a comparison are listed before the first of them starts.
    seeds: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """How many seeds, counted from 0."""
    # 2**63 - 1 is the largest seed of torch's generators.
    data_seed: Annotated[int, Field(ge=0, le=2**63 - 1)] | None = None
    """One seed of the rows for all runs."""
    model_seed: Annotated[int, Field(ge=0, le=2**63 - 1)] | None = None
    """One seed of the training for all runs."""
    trials: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """How many values of its learning rate each method tries on each task before it is scored with the best of them,
    chosen on the dev rows. Without it the learning rates are as set."""
    searches: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """How many times the trials are made anew, with other draws and training rows; the seeds share the searches.
    Without it each seed has one of its own, so that the spread over the seeds holds the luck of searching."""
    method_defaults: dict[str, dict[str, Any]] | None = None
    """Name of a method -> hyper-parameters that hold where its specification does not set them."""
    on: str | None = None
    """What does the runs: an executor (bench list executors), NAME:ADDRESS, or file.py:Class."""
    jobs: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Runs made side by side, each with its share of the CPU threads; of several no time or energy is measured. With
    trials, these alone are made so."""


DECLARED: dict[str, type[BaseModel]] = {
    field: model for model in (Study, Protocol, Measures) for field in model.model_fields
}
"""Every field of a study and the class that declares it."""


# Declarations ----------------------------------------------------------------------------------------------------


def alternatives(annotation: Any) -> Iterator[Any]:
    """The types and the words that an annotation allows: of `Literal["k"] | None` the text `k` and `NoneType`."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from alternatives(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for choice in get_args(annotation):
            yield from alternatives(choice)
    elif origin is Literal:
        yield from get_args(annotation)
    elif origin is tuple:
        yield from alternatives(get_args(annotation)[0])
    else:
        yield origin or annotation


_WORDS = {int: "INTEGER", float: "NUMBER", str: "TEXT", bool: "true|false", dict: "MAPPING", NoneType: "none"}


def values_of(field: FieldInfo) -> str:
    """What a field takes in words, such as `INTEGER|none` or `cpu|cuda`."""
    return "|".join(dict.fromkeys(_WORDS.get(choice, str(choice)) for choice in alternatives(field.annotation)))


def is_flag(field: FieldInfo) -> bool:
    """Whether a field is either true or false."""
    return field.annotation is bool


def takes_several(field: FieldInfo) -> bool:
    """Whether a field takes several values."""
    return any(get_origin(choice) is tuple for choice in (field.annotation, *get_args(field.annotation)))


def word(value: Any) -> str:
    """A value as the command line takes it."""
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


# Values ----------------------------------------------------------------------------------------------------------


def checked(
    model: type[Model], given: Mapping[str, Any], *, base: Model | None = None, place: Place = option_of
) -> Model:
    """Reads values, of which some may be text still, into a model.

    Args:
        model: such as `Protocol`.
        given: field -> value; the word `none` is None where the field may be that.
        base: where the other fields' values come from; None: from their defaults.
        place: what a message calls a field.

    Raises:
        UserError: an unknown field or a value that it does not take, in one line.

    Examples:
        >>> checked(Protocol, {"batch_size": "8", "patience": "none"}).batch_size
        8
        >>> checked(Protocol, {"batch_size": 0})
        Traceback (most recent call last):
        bench.errors.UserError: --batch 0: Input should be greater than 0
    """
    values: Fields = {} if base is None else base.model_dump()
    for name, value in given.items():
        if name not in model.model_fields:
            raise UserError(f"{place(name)}: there is no such field{near(name, model.model_fields)}")
        choices = list(alternatives(model.model_fields[name].annotation))
        if isinstance(value, bool) and bool not in choices:  # pydantic would take true for 1
            raise UserError(f"{place(name)} {word(value)}: it takes {values_of(model.model_fields[name])}")
        if takes_several(model.model_fields[name]) and value is not None:
            value = tuple(each for each in several(value) if each != "none")
        values[name] = None if value == "none" and NoneType in choices else value
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise UserError(_line(error, model, given, place)) from error


def _line(error: ValidationError, model: type[BaseModel], given: Mapping[str, Any], place: Place) -> str:
    """The first of pydantic's errors, with the place that the user knows the field by."""
    first = error.errors()[0]
    said = str(first.get("ctx", {}).get("error", first["msg"]))
    if not first["loc"]:  # several fields that do not go together: the message names them
        names = [name for name in model.model_fields if re.search(rf"\b{name}\b", said)]
        return f"{' and '.join(map(place, names))}: {said}"
    name = str(first["loc"][0])
    return f"{place(name)} {word(given.get(name, ''))}: {said}"


def override(base: Mapping[str, Any], given: Mapping[str, Any]) -> Fields:
    """The fields of `base` with those of `given` in their place; epochs take the place of steps, and steps of epochs.

    Examples:
        >>> override({"epochs": 5, "patience": 2}, {"steps": 100})
        {'epochs': None, 'patience': 2, 'steps': 100}
    """
    merged = {**base, **given}
    for one, other in (("epochs", "steps"), ("steps", "epochs")):
        if given.get(one) not in (None, "none") and other not in given:
            merged[other] = None
    return merged


def sizes_of(given: Any, *, place: str = "--k") -> tuple[int | None, ...]:
    """Training-set sizes in rows, each once; None: all rows.

    Args:
        given: a number, `all`, `100,500`, or a sequence of these.
        place: what a message calls the field.

    Raises:
        UserError: something else.

    Examples:
        >>> sizes_of(["100,500", "all"])
        (100, 500, None)
    """
    pieces = [piece for item in several(given) for piece in (item.split(",") if isinstance(item, str) else [item])]
    sizes: dict[int | None, None] = {}
    for piece in pieces:
        text = word(piece).strip()
        if text != "all" and not (text.isascii() and text.isdigit() and int(text) > 0):
            typed = ",".join(map(word, several(given)))
            raise UserError(f"{place} {typed}: a positive number of training rows, or all")
        sizes[None if text == "all" else int(text)] = None
    return tuple(sizes)


def several(value: Any) -> tuple[Any, ...]:
    """A sequence as a tuple, and one value alone as a tuple of it."""
    alone = isinstance(value, str | Mapping) or not isinstance(value, Iterable)
    return (value,) if alone else tuple(value)


# Command and file ------------------------------------------------------------------------------------------------


def settings_of(protocol: Protocol) -> Fields:
    """Every field of a protocol; of epochs and steps the one that is set, which puts the other off."""
    values = protocol.model_dump()
    return {name: value for name, value in values.items() if value is not None or name not in ("epochs", "steps")}


def words_of(study: Mapping[str, Any]) -> list[str]:
    """The arguments of `bench compare` that ask for a study.

    Examples:
        >>> words_of({"methods": ["lora[r=4]"], "k": [100, "all"], "patience": None, "costs": False})
        ['lora[r=4]', '--k', '100,all', '--patience', 'none', '--no-costs']
    """
    words: list[str] = []
    for name, value in study.items():
        if name == "methods":
            words += several(value)
        elif name == "k":
            words += [option_of(name), ",".join(map(word, several(value)))]
        elif name in ("tasks", "meters"):
            words += [part for each in several(value) for part in (option_of(name), each)]
        elif isinstance(value, bool):
            words.append(option_of(name) if value else f"--no-{option_of(name)[2:]}")
        else:
            words += [option_of(name), word(value)]
    return words


def read_studies(path: Path) -> list[Fields]:
    """The studies of a file: a mapping of fields to values, in YAML or JSON; in YAML several, separated by `---`.

    Raises:
        UserError: the file cannot be read, or a field is unknown.
    """
    import yaml

    try:
        text = path.read_text("utf-8")
        studies = [json.loads(text)] if path.suffix == ".json" else list(yaml.safe_load_all(text))
        repeated = [] if path.suffix == ".json" else _repeated(text)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text") from error
    except (yaml.YAMLError, json.JSONDecodeError) as error:
        raise UserError(f"{path} is no {'JSON' if path.suffix == '.json' else 'YAML'}: {_where(error)}") from error
    if repeated:
        raise UserError(f"{path}: {repeated[0]}: this field stands there twice")
    for study in studies:
        if not isinstance(study, dict):
            raise UserError(f"{path} holds no fields; write them as `field: value`, one a line")
        for name in study:
            if name not in DECLARED:
                raise UserError(f"{path}: {name}: there is no such field{near(str(name), DECLARED)}")
    if not studies:
        raise UserError(f"{path} is empty; write fields as `field: value`, one a line")
    return studies


def _repeated(text: str) -> list[str]:
    """The fields that a study of a YAML text has twice, of which a parser would silently take the last."""
    import yaml

    studies = [node for node in yaml.compose_all(text, Loader=yaml.SafeLoader) if isinstance(node, yaml.MappingNode)]
    counts = [Counter(str(name.value) for name, _ in study.value) for study in studies]
    return [name for count in counts for name, times in count.items() if times > 1]


def _where(error: Exception) -> str:
    """A parser's complaint in one line."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return " ".join(str(error).split())
    return f"line {mark.line + 1}, column {mark.column + 1}: {getattr(error, 'problem', None) or 'it cannot be read'}"


HEADER = f"""\
# What was compared in this folder. To do it again:
#   bench compare --config {CONFIG} --out ANOTHER-FOLDER
# docs/options.md explains the fields.
"""


def write_studies(path: Path, studies: Sequence[Mapping[str, Any]]) -> Path:
    """Writes studies as YAML, which `read_studies` reads; returns the path."""
    import yaml

    plain = [{name: _plain(value) for name, value in study.items()} for study in studies]
    path.write_text(HEADER + yaml.safe_dump_all(plain, sort_keys=False, allow_unicode=True, width=1000), "utf-8")
    return path


def _plain(value: Any) -> Any:
    """A value as YAML's plain types."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def add_study(path: Path, study: Mapping[str, Any]) -> Path:
    """Adds a study to a folder's file, so that the file asks for all runs of the folder.

    It takes the place of an earlier one that differs in nothing, or in what is measured alone.
    """
    kept = read_studies(path) if path.exists() else []
    kept = [other for other in kept if _without_measures(other) != _without_measures(study)]
    return write_studies(path, [*kept, study])


def _without_measures(study: Mapping[str, Any]) -> Fields:
    """What a study says of its runs, in YAML's types."""
    return {name: _plain(value) for name, value in study.items() if name not in Measures.model_fields}
