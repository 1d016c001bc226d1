"""What a comparison spent: runs without a result and trials of settings are in it."""

from __future__ import annotations

from benchmarks.records import profile, records
from reports.frame.folders import side_by_side
from reports.frame.frame import frame
from reports.frame.panels import Panel, panels
from reports.tables.budget import budget, budget_sentence, trials


def panel(**settings: object) -> Panel:
    (found,) = panels(frame(records(**settings), {"minilm-l6": profile()}))  # type: ignore[arg-type]
    return found


def test_failed_runs_count_like_others() -> None:
    one = panel(methods=["full", "lora"], tasks=["trec"], seeds=3, lost=[("lora", "trec", 1)])
    rows = {row[0].text: [cell.text for cell in row[1:]] for row in budget(one).rows}
    assert rows["lora"] == ["3", "1", "0", "1", "9.00", "3.00"]  # a made-up run takes 3 s
    assert rows["full"] == ["3", "0", "0", "1", "9.00", "0"]
    words = budget_sentence(one)
    assert "6 runs (5 ok, 1 failed), 18.0 s" in words
    assert "3.00 s of them in runs without a result" in words
    assert "no tuning trials among these runs" in words


def test_settings_of_one_method_are_its_trials() -> None:
    found = records(methods=["lora[r=4]", "lora[r=8]", "full"], tasks=["trec"], seeds=2)
    found = [
        record.model_copy(
            update={
                "asked": record.asked.model_copy(
                    update={
                        "method": record.asked.method.model_copy(
                            update={"name": record.asked.method.label.partition("[")[0]}
                        )
                    }
                )
            }
        )
        for record in found
    ]
    (one,) = panels(frame(found))
    assert trials(one) == {"full": 1, "lora": 2}
    assert "one a method, but for lora (2)" in budget_sentence(one)


def test_one_setting_in_two_folders_is_one_trial() -> None:
    found = records(methods=["full", "lora"], tasks=["trec"], seeds=2)
    (one,) = panels(frame(side_by_side({"a": found, "b": found})))
    assert set(one.methods) == {"full @a", "full @b", "lora @a", "lora @b"}
    assert trials(one) == {"full": 1, "lora": 1}
