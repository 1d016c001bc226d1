"""Loads the classifier of a finished run."""

from __future__ import annotations

from pathlib import Path

from bench.errors import UserError
from bench.records.store import Record, record_path, weights_path
from bench.training.prepared import Setting, prepare


def trained_setting(out: Path, record: Record) -> Setting:
    """Makes the classifier of a run again as it was scored: adapted, ejected, with the weights that the run kept.

    Args:
        out: the comparison's folder.
        record: of the run.

    Raises:
        UserError: the run kept no weights, they are damaged, or the method has changed since.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = weights_path(out, record.digest)
    if not path.exists():
        raise UserError(f"{path} is not there: {record.asked.title} kept no weights; run it with --weights all")
    setting = prepare(record.asked)
    setting.method.eject(setting.classifier.backbone)
    try:
        state = load_file(path, device=str(setting.device))
    except (SafetensorError, OSError) as error:
        remedy = f"delete {record_path(out, record.digest)} and run the same comparison again"
        raise UserError(f"{path} is damaged ({error}); {remedy}") from error
    misfit = setting.load_stored(state)
    if misfit is not None:
        remedy = f"delete {record_path(out, record.digest)} and run the same comparison again"
        raise UserError(f"{path} holds other parameters than the method has now ({misfit}); {remedy}")
    setting.classifier.eval()
    return setting
