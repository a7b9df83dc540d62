"""Frames of a mediation against plain numpy on the same rows."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mindseye.causal import EFFECTS, NAMES, ratio_interval, smallest_detectable
from mindseye.causal.summary import (
    answers_frame,
    contrasts_frame,
    effects_frame,
    pinned_frame,
    shares_frame,
)
from tests.causal import rows as made

BETWEEN = {"te": "00 11", "pde": "00 10", "tde": "01 11", "pie": "00 01", "tie": "10 11"}
SEED = 3


@pytest.fixture(scope="module")
def rows():
    return made.rows(per_cluster=2)


@pytest.fixture(scope="module")
def frame(rows):
    return effects_frame(rows, SEED)


def each(frame, rows):
    """Every row of the frame of effects with the values it sums up."""
    for row in frame.to_dict("records"):
        held = rows[(rows["level"] == row["level"]) & (rows["outcome"] == row["outcome"])]
        yield row, held[row["effect"]].to_numpy(), held


def plain_interval(values, clusters, level=0.95):
    """Percentile-t over whole clusters, one resample after the other; no end nearer than t's."""
    names = list(dict.fromkeys(clusters))
    groups = [values[[name == each for each in clusters]] for name in names]

    def mean_and_error(chosen):
        n = sum(map(len, chosen))
        mean = sum(group.sum() for group in chosen) / n
        residuals = [group.sum() - len(group) * mean for group in chosen]
        factor = len(chosen) / (len(chosen) - 1)
        return mean, np.sqrt(factor * np.sum(np.square(residuals))) / n

    mean, error = mean_and_error(groups)
    distances = []
    for drawn in np.random.default_rng(SEED).integers(len(groups), size=(2000, len(groups))):
        there, spread = mean_and_error([groups[i] for i in drawn])
        distances.append((there - mean) / spread if spread > 1e-6 * error else 0.0)
    low, high = np.quantile(distances, [(1 - level) / 2, (1 + level) / 2])
    student = stats.t.ppf((1 + level) / 2, len(groups) - 1)
    return mean - max(high, student) * error, mean + max(-low, student) * error


def test_there_is_one_row_per_level_outcome_and_effect(rows, frame):
    keys = list(itertools.product(*(dict.fromkeys(rows[c]) for c in ("outcome", "level")), EFFECTS))
    assert list(zip(*(frame[c] for c in ("outcome", "level", "effect")), strict=True)) == keys
    assert (frame["name"] == frame["effect"].map(NAMES)).all()


def test_means_spreads_and_counts_are_numpys(rows, frame):
    for row, values, held in each(frame, rows):
        assert row["mean"] == pytest.approx(values.mean())
        assert row["abs_mean"] == pytest.approx(np.abs(values).mean())
        quantiles = [row["q05"], row["q50"], row["q95"]]
        assert quantiles == pytest.approx(np.quantile(values, [0.05, 0.5, 0.95]).tolist())
        assert (row["n"], row["clusters"]) == (12, 6)
        assert row["detectable"] == smallest_detectable(values, held["cluster"].tolist())


def test_intervals_are_a_plain_bootstrap_of_whole_clusters(rows, frame):
    for row, values, held in itertools.islice(each(frame, rows), 3):
        low, high = plain_interval(values, held["cluster"].tolist())
        assert (row["low"], row["high"]) == pytest.approx((low, high))


def test_flips_compare_the_two_cells_of_an_effect(rows, frame):
    for row, _, held in each(frame, rows):
        if row["effect"] == "int":
            assert np.isnan(row["flip_rate"])
            continue
        before, after = (held[f"said_{cell}"] for cell in BETWEEN[row["effect"]].split())
        assert row["flip_rate"] == (before != after).mean()


def test_flips_are_of_parsed_answers_where_runs_decoded_on(rows):
    said = rows.assign(**{f"answer_{cell}": "7" for cell in made.CELLS})
    said["answer_11"] = "3"
    flips = effects_frame(said, SEED).groupby("effect")["flip_rate"].max()
    assert flips[["te", "tde", "tie"]].tolist() == [1, 1, 1]
    assert flips[["pde", "pie"]].tolist() == [0, 0]


def test_p_values_are_those_of_every_pattern_of_signs(rows, frame):
    """Six clusters have 64; the largest |t| over all levels and effects is what counts."""
    mine = rows[rows["outcome"] == "probability"]
    sums = mine.groupby(["cluster", "level"], sort=False)[list(EFFECTS)].sum()
    table = sums.unstack("level").to_numpy()

    def t(x):
        return np.abs(x.mean(axis=0)) / x.std(axis=0, ddof=1)

    patterns = itertools.product((1, -1), repeat=len(table))
    largest = [t(np.array(signs)[:, None] * table).max() for signs in patterns]
    found = frame[frame["outcome"] == "probability"].set_index(["level", "effect"])["p_value"]
    columns = sums.unstack("level").columns
    for (effect, level), own in zip(columns, t(table), strict=True):
        wanted = np.mean(np.array(largest) >= own * (1 - 1e-9))
        assert found[level, effect] == pytest.approx(wanted)


def broken(rows, value):
    held = rows.copy()
    held.loc[0, "pie"] = value
    return effects_frame(held, SEED).set_index(["outcome", "level", "effect"])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_effect_that_is_no_number_has_no_interval_and_others_have_theirs(rows, value):
    frame = broken(rows, value)
    assert np.isnan(frame.loc[("logit difference", "embedding", "pie"), "low"])
    assert np.isfinite(frame.loc[("logit difference", "kv", "pie"), "low"])
    assert frame.loc["probability", "p_value"].notna().all()


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_an_outcome_that_is_no_number_somewhere_has_no_p_values(rows, value):
    """A p-value over fewer pairs than the mean beside it would be another test's."""
    assert broken(rows, value).loc["logit difference", "p_value"].isna().all()


def test_contrasts_are_differences_of_levels_pair_by_pair(rows):
    frame = contrasts_frame(rows, SEED)
    assert len(frame) == 2 * 2 * 5
    places = {"relay": ("kv", "embedding"), "marker": ("span", "kv")}
    for row in frame.to_dict("records"):
        held = rows[rows["outcome"] == row["outcome"]].pivot(index="pair", columns="level")
        wide, narrow = (held[row["effect"]][level] for level in places[row["contrast"]])
        values = (wide - narrow).loc[rows["pair"].drop_duplicates()].to_numpy()
        assert row["mean"] == pytest.approx(values.mean())
        clusters = [name for name in dict.fromkeys(rows["cluster"]) for _ in (0, 1)]
        low, high = plain_interval(values, clusters) if row["effect"] == "pie" else (None, None)
        if low is not None:
            assert (row["low"], row["high"]) == pytest.approx((low, high))


def test_contrasts_are_of_the_pairs_that_both_levels_have(rows):
    few = rows[(rows["level"] != "kv") | (rows["pair"] != "pair 0")]
    found = contrasts_frame(few, SEED).set_index(["contrast", "outcome", "effect"])
    values = [few[few["level"] == level].set_index(["outcome", "pair"])["tie"] for level in
              ("kv", "embedding")]  # fmt: skip
    wanted = (values[0] - values[1]).dropna()["probability"].mean()
    assert found.loc[("relay", "probability", "tie"), "mean"] == pytest.approx(wanted)


def test_without_two_levels_there_is_no_contrast_but_an_empty_frame(rows):
    frame = contrasts_frame(rows[rows["level"] == "kv"], SEED)
    assert frame.empty
    assert "contrast" in frame


def test_shares_are_ratios_of_means(rows):
    frame = shares_frame(rows, SEED)
    assert len(frame) == 3 * 2 * 2
    assert (frame["refused"] == "").all()
    for row in frame.to_dict("records"):
        held = rows[(rows["level"] == row["level"]) & (rows["outcome"] == row["outcome"])]
        effect = {"pure": "pie", "total": "tie"}[row["share"]]
        assert row["mean"] == pytest.approx(held[effect].mean() / held["te"].mean())
        wanted = ratio_interval(
            held[effect].to_numpy(), held["te"].to_numpy(), held["cluster"].tolist()
        )
        assert (row["low"], row["high"]) == (wanted.low, wanted.high)


def refused(table):
    frame = shares_frame(table, SEED)
    assert frame[["mean", "low", "high"]].isna().all(axis=None)
    (reason,) = frame["refused"].unique()
    return reason


def test_a_share_of_nothing_is_refused():
    assert refused(made.rows(te=0.0)) == "TE's interval covers 0"


def test_a_share_with_two_signs_is_refused():
    table = made.rows(n=30)
    table["pie"], table["tie"] = 2 + 0.1 * table["pie"], -2 - 0.1 * table["tie"]
    assert refused(table) == "PIE and TIE have different signs"


def test_a_share_of_one_cluster_is_refused():
    assert refused(made.rows(n=4, per_cluster=4)) == "TE's interval covers 0"


def test_controlled_effects_are_means_by_level_pin_and_outcome(rows):
    table = made.pinned(rows)
    frame = pinned_frame(table, SEED)
    assert len(frame) == 3 * 2 * 2 * 3
    for row in frame.to_dict("records"):
        keys = ("level", "pin", "outcome")
        held = table[np.logical_and.reduce([table[key] == row[key] for key in keys])]
        assert row["mean"] == pytest.approx(held[row["quantity"]].mean())
        assert row["low"] < row["mean"] < row["high"]


def test_answers_are_counted_between_the_cells_of_an_effect(rows):
    kv = rows[(rows["level"] == "kv") & (rows["outcome"] == "probability")].iloc[:4]
    said = {"00": "3377", "01": "3377", "10": "7777", "11": "7737"}
    kv = kv.assign(gold="7", **{f"answer_{cell}": list(text) for cell, text in said.items()})
    frame = answers_frame(kv).set_index("effect")
    pie, te = frame.loc["pie"], frame.loc["te"]
    counts = ["both", "only_first", "only_second", "neither"]
    assert te[counts].tolist() == [1, 1, 2, 0]
    assert te["flip_rate"] == 0.75
    assert te["p_value"] == 1
    assert pie[counts].tolist() == [2, 0, 0, 2]
    assert (pie["flip_rate"], pie["low"]) == (0, 0)
    assert 0 < pie["high"] < 1


def test_nothing_is_counted_where_no_run_decoded_on(rows):
    assert answers_frame(rows).empty


def test_equal_seeds_give_equal_frames(rows, frame):
    pd.testing.assert_frame_equal(effects_frame(rows, SEED), frame)
    assert not effects_frame(rows, SEED + 1)["low"].equals(frame["low"])
