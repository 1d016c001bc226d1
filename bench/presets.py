"""Ready-made comparisons. `bench compare --preset NAME` starts from one, and options change it."""

from __future__ import annotations

from bench.records.spec import Measures, Preset, Protocol

_QUICK_METHODS = ("majority", "head", "full", "bitfit", "adapter", "prefix", "lora", "unipelt")

DEFAULT_PRESET = "quick"
"""The preset that is used if the user names none."""

PRESETS: dict[str, Preset] = {
    "quick": Preset(
        title="eight methods on two tasks, MiniLM-L6, K=100, two seeds: minutes on two cores",
        methods=_QUICK_METHODS,
        tasks=("trec", "tweet_valence"),
        model="minilm-l6",
        ks=(100,),
        seeds=2,
        protocol=Protocol(dev="k", epochs=5, evaluations=2, batch_size=8, max_length=128),
        # What fits into minutes: --effective, --resident and more --rounds give the rest.
        measures=Measures(effective=False, resident=False, profile_tokens=16, profile_rounds=10),
    ),
    "smoke": Preset(
        title="does everything run? a tiny random model and a made-up task, seconds, no network",
        methods=_QUICK_METHODS,
        tasks=("synthetic",),
        model="tiny",
        ks=(48,),
        seeds=1,
        protocol=Protocol(
            dev="k", epochs=8, batch_size=8, max_length=64, head="mean", head_learning_rate=0.05, threads=1
        ),
        method_defaults={"full": {"learning_rate": 1e-3, "head_learning_rate": None}},
    ),
    "tuned": Preset(
        title="the same, tuned alike: for each of five seeds the best of four learning rates on the dev rows",
        methods=_QUICK_METHODS,
        tasks=("trec", "tweet_valence"),
        model="minilm-l6",
        ks=(100,),
        seeds=5,
        # Five searches of four trials tell methods apart where one of twelve tells lucky draws apart, and cost little
        # more: `python -m benchmarks.decisions`.
        trials=4,
        protocol=Protocol(dev=1000, epochs=5, evaluations=2, batch_size=8, batches="by-length", max_length=128),
        measures=Measures(effective=False, resident=False, profile_tokens=16, profile_rounds=10),
    ),
    "gates": Preset(
        title="UniPELT with gates learned, left out, constant and hard, for bench gates: three seeds, two tasks",
        methods=("unipelt", "unipelt[gate=none]", "unipelt[gate=constant]", "unipelt-hard"),
        tasks=("trec", "tweet_valence"),
        model="minilm-l6",
        ks=(100,),
        seeds=3,
        protocol=Protocol(dev="k", epochs=10, batch_size=16, max_length=128),
        # The study needs no costs beside the counts; --resident and the profile belong to other questions.
        measures=Measures(profile=False, resident=False),
    ),
    "unipelt": Preset(
        title="the UniPELT paper's grid: GLUE without WNLI, BERT-base uncased, K=100/500/1000, five seeds",
        methods=("full", "bitfit", "adapter", "prefix", "lora", "unipelt-ap", "unipelt-apl"),
        tasks=(
            "glue/cola",
            "glue/sst2",
            "glue/mrpc",
            "glue/qqp",
            "glue/stsb",
            "glue/mnli",
            "glue/qnli",
            "glue/rte",
        ),
        model="bert-base-uncased",
        ks=(100, 500, 1000),
        seeds=5,
        protocol=Protocol(
            dev=1000,
            epochs=50,  # from memory, unverified
            batch_size=16,
            max_length=128,
            warmup_share=0.0,
            weight_decay=0.0,
            max_gradient_norm=1.0,  # the default of the trainer that the released code uses
            patience=10,
            head_learning_rate=None,
            head="native",
        ),
        # A third party's script that quotes the paper. The head learns at the body's rate.
        method_defaults={
            "full": {"learning_rate": 2e-5, "head_learning_rate": None},
            "adapter": {"learning_rate": 1e-4},
            "bitfit": {"learning_rate": 1e-4},
            "prefix": {"learning_rate": 2e-4},
            "lora": {"learning_rate": 5e-4},
            "unipelt": {"learning_rate": 5e-4},
        },
    ),
}
"""Name -> preset."""
