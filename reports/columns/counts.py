"""Scores, and what is counted: trained, stored and effective parameters."""

from __future__ import annotations

from bench.meters.column import Column

_COUNT = "a sum over tensors: exact"

COUNTS: tuple[Column, ...] = (
    Column(
        key="score",
        label="score",
        group="score",
        better="higher",
        says="The task's headline score of the chosen checkpoint on the held-out test rows.",
        formula="accuracy, macro or binary F1, Matthews, Pearson or Spearman, named beside the task",
        meter="scikit-learn and scipy",
        error="the spread over seeds is part of it: see the interval; undefined (constant predictions) is absent. "
        "Interval: Student's t at 95%, the variance over seeds moderated, that is averaged with what the variances of "
        "all methods of the same task and K are like, weighted by degrees of freedom (Smyth, 2004; the prior "
        "counts at most 0.85 (d + 1) of them beside d own ones, fewer with under seven methods, so that one method much "
        "noisier than the rest is seldom told from them for that), and never below that of rounding to whole test rows; one method alone has the classical interval, one "
        "seed none. Differences between methods are paired by seed and tested the same way over all pairs, corrected "
        "by Bonferroni. `python -m benchmarks.coverage` prints what both cover",
    ),
    Column(
        key="trained_parameters",
        label="trained",
        group="parameters",
        says="Parameters outside the head that require a gradient and got one in the first backward pass.",
        formula="sum of |theta| over tensors with a gradient, head excluded",
        meter=_COUNT,
        error="a tensor counts whole even if only some of its rows (token embeddings) get a gradient",
    ),
    Column(
        key="stored_parameters",
        label="stored",
        group="parameters",
        says="Parameters outside the head that have to be kept to deploy the model, beside the pretrained backbone.",
        formula=(
            "after eject() dropped what training alone needed: sum of |theta| over tensors that require a gradient, "
            "and over frozen tensors and persistent buffers that the method added or changed"
        ),
        meter=_COUNT,
        error=(
            "what a method draws again from a seed instead of keeping it (save_projection=false in peft) is not "
            "counted; the record says so (draws_again)"
        ),
    ),
    Column(
        key="stored_share",
        label="share of backbone",
        group="parameters",
        says="Stored parameters over the parameters of the pretrained backbone.",
        formula="stored_parameters / backbone_parameters",
        meter=_COUNT,
        error="none known",
    ),
    Column(
        key="stored_bytes",
        label="stored bytes",
        unit="bytes",
        group="parameters",
        says="Size of the safetensors file that deployment needs: stored parameters and head.",
        formula="header + tensors, in the dtype that they have in the model",
        meter="computed from shapes and names, equal to the written file",
        error="parameters are float32; no quantisation is assumed",
    ),
    Column(
        key="head_parameters",
        label="head",
        group="parameters",
        better=None,
        says="Parameters of the head: what lies outside the base model, and whatever its checkpoint did not hold.",
        formula="sum of |theta| of the head",
        meter=_COUNT,
        error="none known; the same for every method but those that train no head",
    ),
    Column(
        key="backbone_parameters",
        label="backbone",
        group="parameters",
        better=None,
        says="Parameters of the pretrained model without the head, before the method changed it.",
        formula="sum of |theta|",
        meter=_COUNT,
        error="a pooler that the head does not use is not loaded and not counted",
    ),
    Column(
        key="soft_parameters",
        label="soft",
        group="effective",
        says="Stored parameters of the parts, each weighted with its gate's mean value on the test rows.",
        formula="sum over parts of |theta| times mean gate, plus all parameters outside parts",
        meter="recorded gates of the chosen checkpoint; an ungated part counts with gate 1",
        error="a gate's scale is not identifiable: (g/c)(cW) = gW, so a small gate alone proves nothing",
    ),
    Column(
        key="active_parameters",
        label="active(0.1)",
        group="effective",
        says="Stored parameters of the parts, each times the share of test examples whose gate exceeds tau = 0.1.",
        formula="sum over parts of |theta| P(gate > tau), plus all parameters outside parts; a curve over tau",
        meter="recorded gates of the chosen checkpoint; an ungated part counts with gate 1",
        error="depends on tau, and on the gate's arbitrary scale",
    ),
    Column(
        key="participation_ratio",
        label="participation",
        group="effective",
        better=None,
        says="How many gates share the work.",
        formula="(sum of mean gates)^2 / sum of squared mean gates",
        meter="recorded gates of the chosen checkpoint",
        error="absent for methods without gates",
    ),
    Column(
        key="contributing_parameters",
        label="contributing(0.01)",
        group="effective",
        says="Stored parameters of the parts whose removal changes their site's output by more than rho = 1%.",
        formula="sum of |theta| over parts with mean of |y - y0| / |y0| > rho, plus all parameters outside parts",
        meter="each part's site run with and without the part on the same input, on the dev rows",
        error=(
            "a local change: what the following layers make of it is not in it; where a site runs several times in a "
            "pass, squared norms are summed over its calls, and calls that belong to no example are left out"
        ),
    ),
    Column(
        key="verified_parameters",
        label="verified",
        group="effective",
        says=(
            "Parameters left after the largest removal that is shown, at 95%, to lower the true accuracy by less than "
            "epsilon = 0.01."
        ),
        formula=(
            "parts left, plus all parameters outside parts; the order of removal is chosen on the dev rows, at most "
            "eight removals, from one part to all in equal ratios, are tested in turn on rows that were neither trained "
            "nor chosen on and share no text with those or each other, up to the first that fails"
        ),
        meter=(
            "really removing parts and answering again; an exact paired test on the answers that changed "
            "(python -m benchmarks.verified)"
        ),
        error=(
            "wrong in at most 5% of runs where rows are independent; there for tasks scored by accuracy alone: F1, "
            "Matthews and correlations can hang on a few rows, for which no bound held; absent below 299 rows at "
            "epsilon = 0.01. No smallest set: a removal that makes as many answers right as wrong is shown in about "
            "half of the runs if the share of answers that change is about rows (epsilon / 1.645)^2 (at epsilon = 0.01 "
            "3.4% of 1,000 rows, 18% of 5,000; of 300 hardly one answer may change), and rarely if it is greater, so "
            "little is verified where rows are few. Where a task has too few other rows, the order is chosen on one half of the dev rows and "
            "tested on the other; the checkpoint was chosen on both, and the 5% do not cover that choice"
        ),
    ),
    Column(
        key="verified_test_change",
        label="verified score change",
        group="effective",
        better="higher",
        says="What the removal behind the verified count did to the test score.",
        formula="test score with the parts left minus test score with all",
        meter="scored on the test rows",
        error="one number a run: read it with its interval over seeds",
    ),
)
