"""`bench check`: tests whether a method keeps the contract of methods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from bench.contract.architectures import Finding


def check(
    methods: Annotated[list[str], typer.Argument(help="Methods to check, such as my.py:Mine lora[r=16].")],
    architectures: Annotated[
        list[str] | None,
        typer.Option(
            "--architecture",
            "-a",
            help="Check on this architecture only, such as bert. May be given several times. [default: all]",
        ),
    ] = None,
) -> None:
    """Checks the promises that every method makes, on a small random model of each architecture.

    For example: the same seed gives the same result, padding changes nothing, and only the parameters of the method
    are trained. docs/extend.md lists all of them. The exit code is 1 if a promise is broken.
    """
    from bench.contract.architectures import SMALL_MODELS, check_method
    from bench.errors import UserError, near
    from bench.registry.methods import resolve_method

    # Names are checked before the first method, which takes seconds.
    for name in architectures or []:
        if name not in SMALL_MODELS:
            raise UserError(f"--architecture {name}{near(name, SMALL_MODELS)}; there is {', '.join(SMALL_MODELS)}")
    chosen = {name: SMALL_MODELS[name] for name in architectures or SMALL_MODELS}
    broken = 0
    for resolved in [resolve_method(text) for text in methods]:
        broken += _show(resolved.spec.label, list(check_method(resolved.method, chosen)))
    if broken:  # or tested nowhere, which proves nothing
        raise typer.Exit(1)


def _show(label: str, findings: list[Finding]) -> int:
    """Prints the findings on a method. Equal findings are printed once, with all of their architectures.

    Returns:
        The number of broken promises; 1 if the method refuses every architecture, since then nothing was tested.
    """
    print(label)
    kept: dict[str, int] = {}
    others: dict[tuple[str, str, str], list[str]] = {}
    for finding in findings:
        if finding.status == "kept":
            kept[finding.architecture] = kept.get(finding.architecture, 0) + 1
        else:
            others.setdefault((finding.status, finding.check, finding.says), []).append(finding.architecture)
    for architecture, count in kept.items():
        print(f"  kept     {architecture}: {count} promises")
    for (status, promise, says), places in sorted(others.items(), key=lambda item: item[0][0]):
        what = "" if status == "refused" else f"{promise}: "
        print(f"  {status:<8} {', '.join(places)}: {what}{says}")
    broken = sum(finding.status == "broken" for finding in findings)
    if all(finding.status == "refused" for finding in findings):
        print("  tested nowhere: it refuses every architecture asked for")
        return 1
    print(f"  {broken} broken" if broken else "  keeps the contract")
    return broken
