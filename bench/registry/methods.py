"""Makes the method that a text such as `lora[r=16]` names, and writes each method in one canonical spelling."""

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
    """A method that can be run, and its specification, which is recorded and makes the same method again."""

    method: Method
    spec: MethodSpec

    def refusal(self, config: PretrainedConfig) -> str | None:
        """Returns the reason why a model of this configuration cannot be adapted; None if it can.

        Raises:
            UserError: the `unsupported` of the method raised an error.
        """
        try:
            return self.method.unsupported(config)
        except Exception as error:
            line = f"{self.spec.label}: unsupported() raised {described(error)}"
            raise UserError(f"{line}; it is to return the reason as a text, or None") from error


def resolve_method(text: str, *, preset: Mapping[str, Mapping[str, Any]] | None = None) -> ResolvedMethod:
    """Makes the method that a text names.

    Args:
        text: a name, perhaps followed by `[field=value,...]`. The name may be a built-in method, a variant such as
            `unipelt-ap`, an entry point of a package, `file.py:Class`, `peft:TYPE`, or an adapter_config.json.
        preset: name of a method -> hyper-parameters that hold where neither the text nor its variant sets them.

    Raises:
        UserError: the name, a hyper-parameter or a value is unknown, or a plug-in is not a valid method.

    >>> resolved = resolve_method("lora[r=16]")
    >>> resolved.method.r, resolved.method.alpha, resolved.spec.label
    (16, 16.0, 'lora[r=16]')
    """
    given_name, overrides = parse(text)
    name, variant_overrides = parse(VARIANTS[given_name]) if given_name in VARIANTS else (given_name, {})
    saved: dict[str, Any] = {}
    if plugins.is_peft_file(given_name):
        name, saved = plugins.from_peft_file(given_name)
    cls, source = _load(name)
    saved = {field: _as_annotated(cls, field, value) for field, value in saved.items()}
    # From the weakest to the strongest: preset, saved configuration, variant, the text itself.
    given = {field: parse_value(cls, field, value) for field, value in {**variant_overrides, **overrides}.items()}
    defaults = dict((preset or {}).get(cls.name, {}))
    method = build(cls, {**defaults, **saved, **given})
    return ResolvedMethod(method, _spec(method, name=name, source=source, defaults=defaults))


def method_of(spec: MethodSpec) -> Method:
    """Makes the method of a recorded specification.

    Raises:
        UserError: the code of the method has changed since, or is no longer there.
    """
    cls, source = _load(spec.name)
    if source != spec.source:
        raise UserError(f"{spec.name}: its code is {source} now, {spec.source} was asked for; compare anew")
    return build(cls, spec.fields)


def build(cls: type[Method], values: Mapping[str, Any]) -> Method:
    """Constructs a method from its hyper-parameters.

    Raises:
        UserError: a hyper-parameter is unknown or has a wrong value, or the constructor raised an error.
    """
    _check_names(cls, values)
    _check_numbers(cls, values)
    try:
        method = cls(**values)
    except (TypeError, ValueError) as error:
        raise UserError(f"{cls.name}: {error}") from error
    except Exception as error:  # an author's own checks may raise anything
        raise UserError(f"{cls.name} cannot be made: {described(error)}") from error
    _check_numbers(cls, {field.name: getattr(method, field.name) for field in fields(method)})  # and the defaults
    return method


def _check_numbers(cls: type[Method], values: Mapping[str, Any]) -> None:
    """Refuses hyper-parameters with a number that is not finite, and learning rates of zero or less.

    The annotations of a class alone would not do: they check the text of the command line, but not presets, saved
    configurations and the author's defaults.
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
    """Splits `name[field=value,...]` into the name and its fields. The values stay text.

    Raises:
        UserError: the bracket is not closed, a piece is not `field=value`, or a field is given twice.

    >>> parse("lora[r=16,targets=q+v]")
    ('lora', {'r': '16', 'targets': 'q+v'})
    """
    name, bracket, rest = text.strip().partition("[")
    if not bracket:
        return name, {}
    if not rest.endswith("]"):
        raise UserError(f"{text!r}: the bracket is not closed; write {name}[field=value,...]")
    texts: dict[str, str] = {}
    for piece in filter(None, map(str.strip, _pieces(rest[:-1]))):
        field, equals, value = (part.strip() for part in piece.partition("="))
        if not equals or not field or not value:
            raise UserError(f"{text!r}: {piece!r} is not field=value")
        if field in texts:
            raise UserError(f"{text!r}: {field} is given twice")
        texts[field] = value
    return name, texts


def _pieces(text: str) -> list[str]:
    """Splits at the commas that are neither in JSON strings nor within brackets or braces."""
    pieces, depth, start = [], 0, 0
    # The pattern matches a whole JSON string, so that commas and brackets in it are skipped, or one sign.
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
    """Converts the text of a hyper-parameter to the type that the annotation of the field states.

    Raises:
        UserError: the class has no such field, or the annotation does not allow the value.
    """
    from pydantic import TypeAdapter, ValidationError

    _check_names(cls, [field])
    adapter = TypeAdapter[Any](_annotations(cls)[field])
    # The strict reading comes first: for `bool | str`, true is a bool and "true" in quotes is a str.
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
            if reading is strings:  # its message speaks of the text that the user wrote
                reason = error.errors()[0]["msg"]
    raise UserError(f"{cls.name}[{field}={text}]: {reason[0].lower()}{reason[1:]}")


def _like_default(cls: type[Method], field: str, value: Any) -> Any:
    """Returns the default of the field if the value equals it, else the value.

    So 16.0 for a field whose default is the integer 16 is recorded as 16, and is not taken for another run.
    """
    default = next(_default(candidate) for candidate in fields(cls) if candidate.name == field)
    return default if value == default and bool not in (type(value), type(default)) else value


def _default(field: Field[Any]) -> Any:
    return field.default_factory() if field.default_factory is not MISSING else field.default


def _readings(text: str) -> list[Any]:
    """Returns the values that a text may stand for if it is no plain value: JSON, or several texts joined by `+`."""
    readings: list[Any] = []
    with suppress(json.JSONDecodeError):  # the other reading remains
        readings.append(json.loads(text))
    return [*readings, tuple(text.split("+"))]


def _as_annotated(cls: type[Method], field: str, value: Any) -> Any:
    """Converts a saved value to the type that the command line would give it: the 0 of a float field to 0.0."""
    from pydantic import TypeAdapter, ValidationError

    try:
        return _like_default(cls, field, TypeAdapter[Any](_annotations(cls)[field]).validate_python(value))
    except ValidationError:
        return value  # the constructor says what is wrong with it


def _annotations(cls: type[Method]) -> dict[str, Any]:
    try:
        return get_type_hints(cls, include_extras=True)
    except NameError as error:
        raise UserError(f"{cls.name}: an annotation cannot be resolved: {error}") from error


def _check_names(cls: type[Method], names: Iterable[str]) -> None:
    declared = [field.name for field in fields(cls)]
    for name in names:
        if name not in declared:
            hint = near(name, declared)
            raise UserError(f"{cls.name} has no hyper-parameter {name!r}{hint} (it has {', '.join(declared)})")


def _load(name: str) -> tuple[type[Method], str]:
    """Returns the class that a name stands for, and where its code comes from."""
    if plugins.is_file(name):
        loaded, source = plugins.from_file(name)
        return _checked(loaded, name), source
    if plugins.is_peft(name):
        return plugins.from_peft(name)
    if name in BUILT_IN:
        module, _, attribute = BUILT_IN[name].partition(":")
        return getattr(import_module(module), attribute), "built-in"
    packages = plugins.entry_points(METHOD_GROUP)
    if name in packages:
        loaded, source = plugins.from_package(packages[name])
        return _checked(loaded, name), source
    names = [*BUILT_IN, *VARIANTS, *packages]
    raise UserError(f"unknown method {name!r}{near(name, names)} (bench list methods shows all)")


def _checked(loaded: Any, name: str) -> type[Method]:
    """Returns what a plug-in's name stands for, if it is a valid method class.

    Raises:
        UserError: it is not; the message says what to change.
    """
    from methods.kit.base import Method

    if not (inspect.isclass(loaded) and issubclass(loaded, Method)):
        raise UserError(f"{name} is no subclass of bench.Method; write class ...(Method) with Method from bench")
    # A subclass inherits the fields of its base; without its own decorator, its new fields would be ignored.
    if not is_dataclass(loaded) or "__dataclass_fields__" not in vars(loaded):
        raise UserError(f"{name} is no dataclass; put @dataclass(frozen=True, kw_only=True) above it")
    if inspect.isabstract(loaded):
        missing = ", ".join(sorted(loaded.__abstractmethods__))
        raise UserError(f"{name} lacks {missing}: write the method `def {missing}(self, model): ...` in it")
    if not isinstance(getattr(loaded, "name", None), str):
        raise UserError(f"{name} has no name; write name: ClassVar[str] = ... in it")
    reason = refused_name(loaded.name)
    if reason is not None:
        raise UserError(f"{name} calls itself {loaded.name!r}, which {reason}")
    return loaded


def refused_name(name: str) -> str | None:
    """Returns the reason why a plug-in cannot have this name, in words that follow the name; None if it can.

    >>> refused_name("lora"), refused_name("norm-tuning")
    ('is built in; give it another name', None)
    """
    if name in BUILT_IN or name in VARIANTS:
        return "is built in; give it another name"
    if not re.fullmatch(r"[A-Za-z][\w.-]*", name, re.ASCII):
        return "cannot be written on the command line: take letters, digits, - _ and . after a first letter"
    return None


def _spec(method: Method, *, name: str, source: str, defaults: Mapping[str, Any]) -> MethodSpec:
    values = {field.name: getattr(method, field.name) for field in fields(method)}
    return MethodSpec(name=name, label=label(method, defaults), source=source, fields=values)


def label(method: Method, defaults: Mapping[str, Any]) -> str:
    """Writes a method in its canonical spelling: its name, and only the fields that differ from their defaults.

    Of the method's name and its variants, the one that leaves the fewest fields to write is used.

    Args:
        method: the method.
        defaults: hyper-parameters that a preset set; they count as defaults.

    >>> label(resolve_method("lora[alpha=16,r=4]").method, {})
    'lora[r=4]'
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
    texts = []
    for field in fields(method):
        value = getattr(method, field.name)
        if value != defaults.get(field.name, _default(field)):
            texts.append(f"{field.name}={_text(value)}")
    return name, texts


def _text(value: Any) -> str:
    """Writes a value as the command line takes it."""
    if isinstance(value, (tuple, list)):
        return "+".join(_text(item) for item in value)
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return json.dumps(value, separators=(",", ":"))
    return repr(value) if isinstance(value, float) else str(value)
