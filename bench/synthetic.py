"""A made-up task for the smoke preset and for tests: no download, and it says nothing of methods."""

from __future__ import annotations

import random
from pathlib import Path

from tasks import Folder, Row, Rows, Task

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
    """Sentences from templates; the class is the topic that their words come from."""
    generator = random.Random(20220522)
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
