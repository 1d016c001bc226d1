"""The exact parameter counts on BERT-base uncased, computed by hand from the layers' shapes."""

from __future__ import annotations

import pytest
import torch
from transformers import BertConfig, BertModel

from methods.adapter import Adapter
from methods.bitfit import BitFit
from methods.full import Full
from methods.head import Head
from methods.kit.base import Method, freeze
from methods.lora import LoRA
from methods.prefix import Prefix
from methods.unipelt import UniPELT

D, LAYERS = 768, 12
BACKBONE = 109_482_240
PREFIX_STORED = 10 * 2 * LAYERS * D  # 184,320
PREFIX_TRAINED = 10 * D + (D * 512 + 512) + (512 * 2 * LAYERS * D + 2 * LAYERS * D)  # 9,857,024
LORA = LAYERS * 2 * 2 * 8 * D  # 294,912
ADAPTER = LAYERS * (2 * 48 * D + 48 + D)  # 894,528
GATE = LAYERS * (D + 1)  # 9,228


def counts(method: Method) -> tuple[int, int]:
    """Trained and stored parameters without the head."""
    with torch.device("meta"):
        model = BertModel(BertConfig())
        freeze(model)
        method.adapt(model)
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        method.eject(model)
        stored = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return trained, stored


@pytest.mark.parametrize(
    ("method", "trained", "stored"),
    [
        (Head(), 0, 0),
        (Full(), BACKBONE, BACKBONE),
        (BitFit(), 102_912, 102_912),
        (Prefix(), 9_857_024, 184_320),
        (Prefix(hidden=0), 184_320, 184_320),
        (LoRA(), 294_912, 294_912),
        (Adapter(), 894_528, 894_528),
        (UniPELT(parts="A"), ADAPTER + GATE, ADAPTER + GATE),
        (UniPELT(parts="AP"), 10_770_008, 1_097_304),
        (UniPELT(), PREFIX_TRAINED + ADAPTER + LORA + 3 * GATE, 1_401_444),
        (UniPELT(lora_gates=2), 11_083_376, 1_410_672),
        (UniPELT(gate="none"), PREFIX_TRAINED + ADAPTER + LORA, PREFIX_STORED + ADAPTER + LORA),
    ],
    ids=str,
)
def test_counts_on_bert_base(method: Method, trained: int, stored: int) -> None:
    assert counts(method) == (trained, stored)


def test_the_papers_own_count_leaves_the_lora_gates_out() -> None:
    _, stored = counts(UniPELT())
    assert stored - GATE == 1_392_216


def test_one_gate_in_all_layers() -> None:
    assert counts(UniPELT(parts="L"))[0] - LORA == GATE == 9_228
