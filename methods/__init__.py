"""The table of the built-in fine-tuning methods, each of which is one file. It imports none of them."""

from __future__ import annotations

from typing import Any

BUILT_IN: dict[str, str] = {
    "majority": "methods.majority:Majority",
    "head": "methods.head:Head",
    "full": "methods.full:Full",
    "bitfit": "methods.bitfit:BitFit",
    "adapter": "methods.adapter:Adapter",
    "prefix": "methods.prefix:Prefix",
    "lora": "methods.lora:LoRA",
    "unipelt": "methods.unipelt:UniPELT",
}
"""The name on the command line -> where its class is, as "module:Class"."""

VARIANTS: dict[str, str] = {
    "unipelt-ap": "unipelt[parts=AP]",
    "unipelt-apl": "unipelt[parts=APL]",
    "unipelt-hard": "unipelt[gate=hard,prefix_gate=log,sparsity=0.1]",
}
"""A short name -> the specification that it stands for."""

ADDED_FIELDS: dict[str, dict[str, Any]] = {}
"""The name of a built-in method -> hyper-parameters that it got after its first records were written, each with the
value at which the method does what it did without the field (not the default, which may change later).

A run at that value keeps the key that it had before there was the field, and an old record is read as if it had
the field at that value. Example: `{"lora": {"rslora": False}}`.
"""
