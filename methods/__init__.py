"""Fine-tuning methods, one file each. This table imports none of them."""

from __future__ import annotations

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
"""name -> "module:Class"."""

VARIANTS: dict[str, str] = {
    "unipelt-ap": "unipelt[parts=AP]",
    "unipelt-apl": "unipelt[parts=APL]",
    "unipelt-hard": "unipelt[gate=hard,prefix_gate=log,sparsity=0.1]",
}
"""name -> the specification it stands for."""
