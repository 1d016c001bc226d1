"""What a search tries for each method that comes along."""

from __future__ import annotations

import pytest

from bench.registry.methods import resolve_method
from bench.tuning.space import space_of
from methods import BUILT_IN, VARIANTS

NOTHING_LEARNED = {"majority"}


@pytest.mark.parametrize("name", [*BUILT_IN, *VARIANTS])
def test_a_space_names_fields_of_its_method_and_holds_their_defaults(name: str) -> None:
    """A default outside its range could not be found again by tuning. Only what learns nothing has no space."""
    method = resolve_method(name)
    declared = method.method.space
    assert (not declared) == (name in NOTHING_LEARNED)
    if not declared:
        return
    space = space_of(declared, fields=method.spec.fields)  # raises for a name that is no field
    for field, axis in space.axes.items():
        default = method.spec.fields[field]
        if default is None:  # the head's rate: that of the protocol
            from bench.records.spec import Protocol

            default = Protocol().head_learning_rate
        assert default in axis.choices if axis.choices else 0 < axis.position(default) < 1
