"""A table of the gate report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

ONE_SEED = "One seed: no interval and no verdict."


@dataclass(frozen=True)
class GateTable:
    """A table: its file's name, its rows, and what it shows and does not show."""

    name: str
    says: str
    rows: pd.DataFrame
