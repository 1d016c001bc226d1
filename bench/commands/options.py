"""Options of the command line, and docs/options.md, made from the fields that declare them.

`bench.records.spec` declares the fields with their types, defaults and docstrings; nothing is said of them here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

import typer
from pydantic import BaseModel

from bench.presets import DEFAULT, PRESETS
from bench.records.spec import Preset, option_of
from bench.records.study import CONFIG, Study, is_flag, values_of, word

Command = TypeVar("Command", bound=Callable[..., None])


def described(model: type[BaseModel], field: str) -> str:
    """What a field means: its docstring in the class, on one line."""
    text = model.model_fields[field].description
    assert text, f"{model.__name__}.{field} needs a docstring, for the help and the documents"
    return " ".join(text.split())


def option(model: type[BaseModel], field: str, *names: str, default: Any = None, none: bool = False) -> Any:
    """The option that sets a field.

    Args:
        model: the class that declares it.
        field: its name.
        names: other names of the option, such as `-t`.
        default: shown in the help; None: nothing is.
        none: whether the word `none` is a value that one may give.
    """
    declared = model.model_fields[field]
    name = option_of(field)
    shown = "" if default is None else f" [default: {word(default)}]"
    if is_flag(declared):
        return typer.Option(f"{name}/--no-{name[2:]}", *names, help=described(model, field) + shown)
    metavar = values_of(declared) if none else values_of(declared).removesuffix("|none")
    return typer.Option(name, *names, help=described(model, field) + shown, metavar=metavar)


def takes(*defaults: BaseModel, only: Sequence[str] | None = None) -> Callable[[Command], Command]:
    """Gives a command that ends in `**settings` an option for each field of some models.

    The command gets what was typed as text, true or false for a flag, and None for an option that was not given:
    `bench.records.study.checked` reads and checks it, as it does the values of a file.

    Args:
        defaults: an instance of each model, whose values the help shows.
        only: these fields; None: all of them.
    """
    added = [
        _parameter(type(model), field, getattr(model, field))
        for model in defaults
        for field in type(model).model_fields
        if only is None or field in only
    ]

    def with_options(command: Command) -> Command:
        signature = inspect.signature(command, eval_str=True)
        *written, settings = signature.parameters.values()
        assert settings.kind is inspect.Parameter.VAR_KEYWORD
        # typer asks for the signature, and calls the command with all of it by name.
        command.__signature__ = signature.replace(parameters=[*written, *added])  # type: ignore[attr-defined]
        return command

    return with_options


def _parameter(model: type[BaseModel], field: str, default: Any) -> inspect.Parameter:
    kind: Any = bool | None if is_flag(model.model_fields[field]) else str | None
    shown = "none" if default is None else default
    annotation = Annotated[kind, option(model, field, default=shown, none=True)]
    return inspect.Parameter(field, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


MADE_BY = "python -m bench.commands.options > docs/options.md"


def document() -> str:
    """docs/options.md: every field, with its option, what it takes, its default and what it means."""
    base = PRESETS[DEFAULT]
    parts = (
        ("What is compared", Study(preset=DEFAULT, **_study_of(base))),
        ("How it is trained and evaluated", base.protocol),
        ("What is measured besides scores and time", base.measures),
    )
    return _HEAD + "".join(f"\n## {title}\n\n{_table(model)}" for title, model in parts)


_HEAD = f"""\
# Options

<!-- Made by: {MADE_BY} -->

A comparison is asked for by fields. Each can be given as an option of `bench compare`, in a file that
`bench compare --config study.yaml` reads, and as a keyword of `bench.compare(...)` in Python. An option or a keyword
overrides the file, and the file overrides the preset. A field that stands nowhere has the value of the preset; the
defaults below are those of the preset `{DEFAULT}`.

```yaml
# study.yaml
preset: {DEFAULT}
methods: [full, "lora[r=16]"]
tasks: [trec]
k: [100, 500]
seeds: 3
epochs: 8
energy: false
```

Every report comes with a file `{CONFIG}` that asks for its runs again, with every field stated:
`bench compare --config out/{CONFIG} --out another-folder`. A file in JSON is read as well. In YAML, several
comparisons can stand in one file, separated by `---`; they are done one after the other.
"""


def _study_of(base: Preset) -> dict[str, Any]:
    sizes = tuple("all" if size is None else size for size in base.ks)
    return {"methods": base.methods, "tasks": base.tasks, "model": base.model, "k": sizes, "seeds": base.seeds}


def _table(model: BaseModel) -> str:
    lines = ["| field | option | takes | default | what it is |", "| --- | --- | --- | --- | --- |"]
    for field, declared in type(model).model_fields.items():
        value = getattr(model, field)
        default = " ".join(map(word, value)) if isinstance(value, tuple) else word(value)
        given = _OPTIONS.get(field, f"`{option_of(field)}`")
        kinds = values_of(declared)
        if isinstance(model, Study):  # none is there what is not given
            kinds = kinds.removesuffix("|none")
        takes_words = kinds.replace("|", " \\| ")
        lines.append(f"| `{field}` | {given} | {takes_words} | {default} | {described(type(model), field)} |")
    return "\n".join(lines) + "\n"


_OPTIONS = {
    "methods": "(arguments)",
    "method_defaults": "(none)",
    "tasks": "`--task`, `-t`",
    "model": "`--model`, `-m`",
}
"""Fields that are not an option of their own name alone."""


if __name__ == "__main__":
    print(document(), end="")
