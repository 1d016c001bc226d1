"""From `lora[r=16]` to a method: names, hyper-parameters, and their one canonical spelling."""

from __future__ import annotations

import inspect
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, get_type_hints

from bench.errors import UserError, described, near
from bench.records.spec import MethodSpec
from bench.registry import plugins
from methods import BUILT_IN, VARIANTS

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from methods.kit.base import Method

METHOD_GROUP = "tunebench.methods"


@dataclass(frozen=True)
class ResolvedMethod:
    """A method ready to run, and how it was asked for."""

    method: Method
    spec: MethodSpec

    def refusal(self, config: PretrainedConfig) -> str | None:
        """Why a model of this configuration cannot be adapted; None if it can.

        Raises:
            UserError: the method's own code raised in place of telling.
        """
        try:
            return self.method.unsupported(config)
        except Exception as error:
            line = f"{self.spec.label}: unsupported() raised {described(error)}"
            raise UserError(f"{line}; it is to return the reason as a text, or None") from error


def resolve_method(text: str, *, preset: Mapping[str, Mapping[str, Any]] | None = None) -> ResolvedMethod:
    """Makes the method that `text` names.

    Args:
        text: `name`, `name[field=value,...]`, or either with `file.py:Class` or a variant as name.
        preset: name -> hyper-parameters that hold where neither `text` nor its variant sets them.

    Raises:
        UserError: unknown name, hyper-parameter or value, or a plug-in that is no method.
    """
    asked, overrides = parse(text)
    name, variant_overrides = parse(VARIANTS[asked]) if asked in VARIANTS else (asked, {})
    saved: dict[str, Any] = {}
    if plugins.is_peft_file(asked):
        name, saved = plugins.from_peft_file(asked)
    cls, source = _load(name)
    saved = {field: _as_annotated(cls, field, value) for field, value in saved.items()}
    given = {field: parse_value(cls, field, value) for field, value in {**variant_overrides, **overrides}.items()}
    defaults = dict((preset or {}).get(cls.name, {}))
    method = build(cls, {**defaults, **saved, **given})
    return ResolvedMethod(method, _spec(method, name=name, source=source, defaults=defaults))


def method_of(spec: MethodSpec) -> Method:
    """The method of a recorded specification.

    Raises:
        UserError: its code changed since, or is gone.
    """
    cls, source = _load(spec.name)
    if source != spec.source:
        raise UserError(f"{spec.name}: its code is {source} now, {spec.source} was asked for; compare anew")
    return build(cls, spec.fields)


def build(cls: type[Method], values: Mapping[str, Any]) -> Method:
    """Constructs a method; its own checks become one line."""
    _check_names(cls, values)
    _check_numbers(cls, values)
    try:
        method = cls(**values)
    except (TypeError, ValueError) as error:
        raise UserError(f"{cls.name}: {error}") from error
    except Exception as error:  # an author's own checks may raise anything
        raise UserError(f"{cls.name} cannot be made: {described(error)}") from error
    _check_numbers(cls, {field.name: getattr(method, field.name) for field in fields(method)})
    return method


def _check_numbers(cls: type[Method], values: Mapping[str, Any]) -> None:
    """Refuses a number that is not finite anywhere in the hyper-parameters, and a learning rate of zero or less.

    Here and not in the annotations alone: presets, saved configurations and authors' defaults pass here too.
    """
    for field, value in values.items():
        if not _finite(value):
            raise UserError(f"{cls.name}[{field}={_text(value)}]: hyper-parameters must be finite numbers")
        if field in ("learning_rate", "head_learning_rate") and isinstance(value, int | float) and value <= 0:
            raise UserError(f"{cls.name}[{field}={_text(value)}]: a learning rate must be more than 0")


def _finite(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_finite, value.values()))
    if isinstance(value, list | tuple | set):
        return all(map(_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def parse(text: str) -> tuple[str, dict[str, str]]:
    """Splits `name[field=value,...]` into the name and its fields, still as text."""
    name, bracket, rest = text.strip().partition("[")
    if not bracket:
        return name, {}
    if not rest.endswith("]"):
        raise UserError(f"{text!r}: the bracket is not closed; write {name}[field=value,...]")
    found: dict[str, str] = {}
    for piece in filter(None, map(str.strip, _pieces(rest[:-1]))):
        field, equals, value = (part.strip() for part in piece.partition("="))
        if not equals or not field or not value:
            raise UserError(f"{text!r}: {piece!r} is not field=value")
        if field in found:
            raise UserError(f"{text!r}: {field} is given twice")
        found[field] = value
    return name, found


def _pieces(text: str) -> list[str]:
    """Splits at the commas that stand neither in JSON quotes nor in brackets or braces."""
    pieces, depth, start = [], 0, 0
    for token in re.finditer(r'(?<=[=\[{,:\s])"(?:\\.|[^"\\])*"|[\[{\]},]', text):
        if token[0] == "," and depth == 0:
            pieces.append(text[start : token.start()])
            start = token.end()
        elif token[0] in "[{":
            depth += 1
        elif token[0] in "]}":
            depth = max(0, depth - 1)
    return [*pieces, text[start:]]


def parse_value(cls: type[Method], field: str, text: str) -> Any:
    """A hyper-parameter's value from its text, by the field's annotation.

    Raises:
        UserError: unknown field, or a value that the annotation does not allow.
    """
    from pydantic import TypeAdapter, ValidationError

    _check_names(cls, [field])
    adapter = TypeAdapter[Any](_annotations(cls)[field])
    # First what the text says exactly: of `bool | str`, true is a bool and "true" in quotes a str.
    readings: list[Callable[[], Any]] = [partial(adapter.validate_json, text, strict=True)]
    if text.lower() == "none":
        readings.append(partial(adapter.validate_python, None))
    strings = partial(adapter.validate_strings, text)
    readings.append(strings)
    readings += [partial(adapter.validate_python, value) for value in _readings(text)]
    reason = ""
    for reading in readings:
        try:
            return _like_default(cls, field, reading())
        except ValidationError as error:  # the next reading of the text may fit
            if reading is strings:
                reason = error.errors()[0]["msg"]
    raise UserError(f"{cls.name}[{field}={text}]: {reason[0].lower()}{reason[1:]}")


def _like_default(cls: type[Method], field: str, value: Any) -> Any:
    """The value, or the field's default where they are equal: 16.0 is an author's 16, not another run."""
    default = next(_default(known) for known in fields(cls) if known.name == field)
    return default if value == default and bool not in (type(value), type(default)) else value


def _default(field: Field[Any]) -> Any:
    return field.default_factory() if field.default_factory is not MISSING else field.default


def _readings(text: str) -> list[Any]:
    """What a text that is no plain value may stand for: JSON, or several joined by `+`."""
    found: list[Any] = []
    with suppress(json.JSONDecodeError):  # the other reading remains
        found.append(json.loads(text))
    return [*found, tuple(text.split("+"))]


def _as_annotated(cls: type[Method], field: str, value: Any) -> Any:
    """A saved value in the type that the command line would give it: a float's 0 as 0.0."""
    from pydantic import TypeAdapter, ValidationError

    try:
        return _like_default(cls, field, TypeAdapter[Any](_annotations(cls)[field]).validate_python(value))
    except ValidationError:
        return value  # the class's own checks say what is wrong with it


def _annotations(cls: type[Method]) -> dict[str, Any]:
    try:
        return get_type_hints(cls, include_extras=True)
    except NameError as error:
        raise UserError(f"{cls.name}: an annotation cannot be resolved: {error}") from error


def _check_names(cls: type[Method], names: Iterable[str]) -> None:
    known = [field.name for field in fields(cls)]
    for name in names:
        if name not in known:
            hint = near(name, known)
            raise UserError(f"{cls.name} has no hyper-parameter {name!r}{hint} (it has {', '.join(known)})")


def _load(name: str) -> tuple[type[Method], str]:
    """The class that a name stands for, and its source."""
    if plugins.is_file(name):
        found, source = plugins.from_file(name)
        return _checked(found, name), source
    if plugins.is_peft(name):
        return plugins.from_peft(name)
    if name in BUILT_IN:
        module, _, attribute = BUILT_IN[name].partition(":")
        cls: type[Method] = getattr(import_module(module), attribute)
        return cls, "built-in"
    packages = plugins.entry_points(METHOD_GROUP)
    if name in packages:
        found, source = plugins.from_package(packages[name])
        return _checked(found, name), source
    known = [*BUILT_IN, *VARIANTS, *packages]
    raise UserError(f"unknown method {name!r}{near(name, known)} (bench list methods shows all)")


def _checked(found: Any, name: str) -> type[Method]:
    """A plug-in's class, if it is a method."""
    from methods.kit.base import Method

    if not (inspect.isclass(found) and issubclass(found, Method)):
        raise UserError(f"{name} is no subclass of bench.Method")
    if not is_dataclass(found) or "__dataclass_fields__" not in vars(found):
        raise UserError(f"{name} is no dataclass; put @dataclass(frozen=True, kw_only=True) above it")
    if inspect.isabstract(found):
        missing = ", ".join(sorted(found.__abstractmethods__))
        raise UserError(f"{name} lacks {missing}: write the method `def {missing}(self, model): ...` in it")
    if not isinstance(getattr(found, "name", None), str):
        raise UserError(f"{name} has no name; write name: ClassVar[str] = ... in it")
    reason = refused_name(found.name)
    if reason is not None:
        raise UserError(f"{name} calls itself {found.name!r}, which {reason}")
    return found


def refused_name(name: str) -> str | None:
    """Why a plug-in cannot have this name; None if it can."""
    if name in BUILT_IN or name in VARIANTS:
        return "is built in; give it another name"
    if not re.fullmatch(r"[A-Za-z][\w.-]*", name, re.ASCII):
        return "cannot be written on the command line: take letters, digits, - _ and . after a first letter"
    return None


def _spec(method: Method, *, name: str, source: str, defaults: Mapping[str, Any]) -> MethodSpec:
    values = {field.name: getattr(method, field.name) for field in fields(method)}
    return MethodSpec(name=name, label=label(method, defaults), source=source, fields=values)


def label(method: Method, defaults: Mapping[str, Any]) -> str:
    """The canonical spelling: the name that needs fewest fields, then only the fields that differ.

    Args:
        method: the method.
        defaults: what a preset set, which counts as the default.
    """
    spellings = [_differing(method, method.name, defaults)]
    for variant, text in VARIANTS.items():
        name, texts = parse(text)
        if name == method.name:
            cls = type(method)
            values = {field: parse_value(cls, field, value) for field, value in texts.items()}
            spellings.append(_differing(method, variant, {**defaults, **values}))
    head, differing = min(spellings, key=lambda spelling: len(spelling[1]))
    return f"{head}[{','.join(differing)}]" if differing else head


def _differing(method: Method, name: str, defaults: Mapping[str, Any]) -> tuple[str, list[str]]:
    found = []
    for field in fields(method):
        value = getattr(method, field.name)
        if value != defaults.get(field.name, _default(field)):
            found.append(f"{field.name}={_text(value)}")
    return name, found


def _text(value: Any) -> str:
    """A value as it is written on the command line."""
    if isinstance(value, (tuple, list)):
        return "+".join(_text(item) for item in value)
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return json.dumps(value, separators=(",", ":"))
    return repr(value) if isinstance(value, float) else str(value)
