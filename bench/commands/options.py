"""Makes the options of the command line, and docs/options.md, from the fields of a comparison.

The fields are declared in `bench.records.spec` and `bench.records.study`, with their types, defaults and docstrings.
An option and its help text are made from the declaration, so that they cannot differ from it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

import typer
from pydantic import BaseModel

from bench.presets import DEFAULT_PRESET, PRESETS
from bench.records.spec import option_of
from bench.records.study import CONFIG, Study, is_flag, takes_several, values_of, word
from bench.registry.executors import DEFAULT as DEFAULT_EXECUTOR

Command = TypeVar("Command", bound=Callable[..., None])

BASE = PRESETS[DEFAULT_PRESET]
"""The preset that `bench compare` starts from. Help texts show its values as defaults."""

USUAL = Study(
    preset=DEFAULT_PRESET,
    methods=BASE.methods,
    tasks=BASE.tasks,
    model=BASE.model,
    k=tuple("all" if size is None else size for size in BASE.ks),
    seeds=BASE.seeds,
    on=DEFAULT_EXECUTOR,
    jobs=1,
)
"""The fields that say what is compared, with the values of that preset."""


def meaning_of(model: type[BaseModel], field: str) -> str:
    """Returns what a field means: its docstring in the class, on one line."""
    text = model.model_fields[field].description
    assert text, f"{model.__name__}.{field} needs a docstring, for the help and the documents"
    return " ".join(text.split())


def option(defaults: BaseModel, field: str, *names: str) -> Any:
    """Makes the command-line option that sets a field.

    Args:
        defaults: an instance of the class that declares the field; the help text shows its value as the default.
        field: the name of the field.
        names: other names of the option, such as `-t`.
    """
    declared = type(defaults).model_fields[field]
    default = _default(defaults, field)
    text = meaning_of(type(defaults), field) + (f" [default: {default}]" if default else "")
    name = option_of(field)
    if is_flag(declared):
        return typer.Option(f"{name}/--no-{name[2:]}", *names, help=text)
    return typer.Option(name, *names, help=text, metavar=_taken(defaults, field))


def _default(defaults: BaseModel, field: str) -> str:
    """Writes the default of a field for a help text; empty if it has none."""
    value = getattr(defaults, field)
    if value is None and isinstance(defaults, Study):
        return ""
    return " ".join(map(word, value)) or "none" if isinstance(value, tuple) else word(value)


def _taken(defaults: BaseModel, field: str) -> str:
    """Writes which values a field takes, such as `INTEGER|none`.

    In a study, None only means that the preset decides, so that `none` is not listed there.
    """
    if field == "preset":
        return "|".join(PRESETS)
    words = values_of(type(defaults).model_fields[field])
    return words.removesuffix("|none") if isinstance(defaults, Study) else words


def takes(*defaults: BaseModel, only: Sequence[str] | None = None) -> Callable[[Command], Command]:
    """Decorates a command whose last parameter is `**settings` with an option for each field of some models.

    The command receives the text that the user typed, True or False for a flag, and None for an option that was not
    given. `bench.records.study.checked` reads and checks these values, as it does those of a file.

    Args:
        defaults: an instance of each model; help texts show its values as defaults.
        only: the fields that get an option; None: all.
    """
    added = [
        _parameter(model, field)
        for model in defaults
        for field in type(model).model_fields
        if only is None or field in only
    ]

    def with_options(command: Command) -> Command:
        signature = inspect.signature(command, eval_str=True)
        *written, settings = signature.parameters.values()
        assert settings.kind is inspect.Parameter.VAR_KEYWORD
        # typer reads the parameters from the signature and passes each one by its name, so they reach **settings.
        command.__signature__ = signature.replace(parameters=[*written, *added])  # type: ignore[attr-defined]
        return command

    return with_options


def _parameter(defaults: BaseModel, field: str) -> inspect.Parameter:
    """Makes a parameter of a command for a field.

    Its type is text, so that one function reads values of the command line, of a file and of Python.
    """
    declared = type(defaults).model_fields[field]
    kind: Any = bool | None if is_flag(declared) else list[str] | None if takes_several(declared) else str | None
    annotation = Annotated[kind, option(defaults, field)]
    return inspect.Parameter(field, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


# docs/options.md -------------------------------------------------------------------------------------------------

MADE_BY = "python -m bench.commands.options > docs/options.md"

_HEAD = f"""\
# Options

<!-- Made by: {MADE_BY} -->

A comparison is described by fields. Each can be given as an option of `bench compare`, in a file that
`bench compare --config study.yaml` reads, and as a keyword of `bench.compare(...)` in Python. An option or a keyword
overrides the file, and the file overrides the preset. A field that is given nowhere has the value of the preset; the
defaults below are those of the preset `{DEFAULT_PRESET}`.

```yaml
# study.yaml
preset: {DEFAULT_PRESET}
methods: [full, "lora[r=16]"]
tasks: [trec]
k: [100, 500]
seeds: 3
epochs: 8
energy: false
```

Every report comes with a file `{CONFIG}` in which every field is stated, so that
`bench compare --config out/{CONFIG} --out another-folder` does the same runs again. A file in JSON is read as well. In
YAML, several comparisons can stand in one file, separated by `---`; they are done one after the other.
"""

_PARTS = (
    ("What is compared", USUAL),
    ("How it is trained and evaluated", BASE.protocol),
    ("What is measured besides scores and time", BASE.measures),
)

_OTHERWISE = {
    "methods": "the arguments",
    "method_defaults": "none",
    "tasks": "`--task`, `-t`",
    "model": "`--model`, `-m`",
}
"""Field -> what docs/options.md says in the column of options, for fields without exactly one option."""


def options_document() -> str:
    """Writes docs/options.md: each field with its option, the values that it takes, its default and its meaning."""
    return _HEAD + "".join(f"\n## {title}\n\n{_table(defaults)}" for title, defaults in _PARTS)


def _table(defaults: BaseModel) -> str:
    lines = ["| field | option | takes | default | meaning |", "| --- | --- | --- | --- | --- |"]
    for field in type(defaults).model_fields:
        name = _OTHERWISE.get(field, f"`{option_of(field)}`")
        taken = _taken(defaults, field).replace("|", " \\| ")
        meaning = meaning_of(type(defaults), field)
        lines.append(f"| `{field}` | {name} | {taken} | {_default(defaults, field)} | {meaning} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(options_document(), end="")
