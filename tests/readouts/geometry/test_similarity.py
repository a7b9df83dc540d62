"""The table: the same measures for latents and all that stands beside them, each as it is."""

from __future__ import annotations

import inspect
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings

from mindseye.errors import SampleError, UnknownNameError
from mindseye.readouts.geometry import (
    JOINED,
    MEASURES,
    TRANSFORMS,
    cka,
    contraction,
    cosines,
    dependence,
    drift,
    intrinsic_dimension,
    procrustes_distance,
    retrieval,
    rsa,
    scatter,
    similarity,
    spectrum,
    transformed,
)
from mindseye.readouts.geometry.tabulating import COLUMNS, share_of
from tests.readouts.geometry.clouds import rng, rotation
from tests.strategies import seeds

N, SLOTS, D = 24, 3, 16
ANSWERS = [str(i % 3) for i in range(N)]
KEY = ["population", "slot", "measure", "transform", "against"]


def states(seed, offset=0.0, image=0.0, n=N):
    """States that hold as much of their run's own vector as is asked for."""
    own = rng(99).standard_normal((n, SLOTS, D))
    return rng(seed).standard_normal((n, SLOTS, D)) + image * own + offset


def inputs():
    latents = states(0, offset=4.0, image=2.0)
    return {
        "answers": ANSWERS,
        "baselines": {"text": states(1), "dummy": np.tile(states(2)[:1], (N, 1, 1))},
        "placebo": np.stack([states(3, 4.0, 2.0), states(4, 4.0, 2.0)]),
        "oracles": states(5, image=2.0),
        "nudged": latents + 0.1 * states(6),
    }


@cache
def measured():
    return similarity(states(0, 4.0, 2.0), **inputs(), n_permutations=19, rng=rng())


def frame(population="latents", slot=0, found=None):
    rows = (found or measured()).to_frame()
    rows = rows[(rows["population"] == population) & (rows["slot"] == slot)]
    return rows.set_index(["measure", "transform", "against"]).sort_index()


def value(measure, transform="", against="", column="value", **where):
    return frame(**where).loc[(measure, transform, against), column]


def vectors(slot, of=None):
    held = states(0, 4.0, 2.0) if of is None else of
    return held.reshape(len(held), -1) if slot == JOINED else held[:, slot]


places = pytest.mark.parametrize("slot", [0, 2, JOINED])


def test_the_table_has_its_columns_and_one_row_of_each_kind():
    rows = measured().to_frame()
    assert rows.columns.tolist() == list(COLUMNS)
    assert not rows.duplicated(KEY).any()
    assert set(rows["measure"]) == set(MEASURES)
    assert (rows["n"] == N).all()
    assert set(rows["slot"]) == {0, 1, 2, JOINED}
    assert measured().populations == ["latents", "text", "dummy"]


def test_every_measure_stands_beside_the_same_measure_of_the_baselines():
    rows = measured().to_frame()
    own = ["placebo", "mean of text", "mean of dummy"]
    rows = rows[~rows["against"].isin(own) & (rows["measure"] != "contraction")]
    kinds = {name: set(map(tuple, held[KEY[1:]].to_numpy())) for name, held in rows.groupby(KEY[0])}
    assert kinds["text"] == kinds["dummy"] == kinds["latents"]


@places
@pytest.mark.parametrize("how", TRANSFORMS)
def test_cosines_between_runs_are_means_over_pairs(slot, how):
    every = cosines(transformed(vectors(slot), how))
    off = ~np.eye(N, dtype=bool)
    assert value("inter-instance cosine", how, slot=slot) == pytest.approx(every[off].mean())
    same = np.equal.outer(ANSWERS, ANSWERS)
    for against, kept in (("same answer", same & off), ("other answer", ~same)):
        found = value("inter-instance cosine", how, against, slot=slot)
        assert found == pytest.approx(every[kept].mean())
    null = value("inter-instance cosine", how, column="null", slot=slot)
    assert np.isnan(null) if how == "raw" else null == -1 / (N - 1)


@places
def test_ranks_and_dimension_are_those_of_the_slots_vectors(slot):
    for how in ("raw", "centred"):
        held = spectrum(vectors(slot), centred=how == "centred")
        for measure, wanted in (
            ("rank", held.rank),
            ("effective rank, singular values", held.effective_rank_of_singular_values),
            ("effective rank, eigenvalues", held.effective_rank_of_eigenvalues),
            ("participation ratio", held.participation_ratio),
            ("stable rank", held.stable_rank),
            ("rank 90", held.components(0.9)),
        ):
            assert value(measure, how, slot=slot) == pytest.approx(wanted)
    found = value("intrinsic dimension", slot=slot)
    assert found == pytest.approx(intrinsic_dimension(vectors(slot)))


def test_nulls_of_ranks_are_those_of_gaussian_clouds_of_the_same_size():
    for slot, d in ((0, D), (JOINED, SLOTS * D)):
        null = value("participation ratio", "centred", column="null", slot=slot)
        assert null == pytest.approx((N - 1) * d / (N + d), rel=0.15)


@places
def test_norm_and_variance_are_those_of_the_slots_vectors(slot):
    rows = vectors(slot)
    assert value("norm", slot=slot) == pytest.approx(np.linalg.norm(rows, axis=1).mean())
    trace = np.trace(np.cov(rows.T))
    assert value("variance between instances", slot=slot) == pytest.approx(trace)
    share = value("share between instances", slot=slot)
    assert share == pytest.approx(trace / ((rows**2).sum(axis=1).mean()), rel=0.02)
    assert 1 - share == pytest.approx(value("inter-instance cosine", "raw", slot=slot), abs=0.05)


def test_the_share_between_instances_knows_that_a_mean_of_few_runs_is_noisy():
    """Of vectors without any common part everything differs, however few there are."""
    shares = [
        value(
            "share between instances",
            found=similarity(states(seed, n=6), n_permutations=1, rng=rng()),
        )
        for seed in range(20)
    ]
    assert np.mean(shares) > 0.94  # 6/7 if the mean's own error were taken for a common part


def test_slots_are_compared_within_runs_around_one_origin():
    pooled = states(0, 4.0, 2.0).reshape(-1, D)
    for how in TRANSFORMS:
        held = transformed(pooled, how).reshape(N, SLOTS, D)
        every = np.stack([cosines(run) for run in held])
        mean = (every[:, 0, 1] + every[:, 0, 2]) / 2
        assert value("intra-instance cosine", how) == pytest.approx(mean.mean())
        assert value("adjacent cosine", how) == pytest.approx(every[:, 0, 1].mean())
        with pytest.raises(KeyError):
            value("adjacent cosine", how, slot=2)


def test_steps_are_those_of_drift_and_contraction():
    latents = states(0, 4.0, 2.0)
    for slot in (0, 1):
        assert value("drift", slot=slot) == pytest.approx(drift(latents)[:, slot].mean())
        wanted = contraction(latents, inputs()["nudged"])[:, slot].mean()
        assert value("contraction", slot=slot) == pytest.approx(wanted)


def test_slots_are_aligned_with_the_next_one_their_oracle_and_means_of_others():
    x = vectors(0)
    for against, y in (
        ("next slot", vectors(1)),
        ("oracle", inputs()["oracles"][:, 0]),
        ("mean of text", inputs()["baselines"]["text"].mean(axis=1)),
    ):
        assert value("cka debiased", "", against) == pytest.approx(cka(x, y))
        assert value("cka biased", "", against) == pytest.approx(cka(x, y, debiased=False))
        assert value("rsa", "", against) == pytest.approx(rsa(x, y, rng=rng()).value)
        found = value("procrustes distance", "", against)
        assert found == pytest.approx(procrustes_distance(x, y), abs=1e-6)
    assert value("rsa", "", "oracle", "p_value") == 1 / 20
    assert (
        abs(value("cka debiased", "", "oracle", "null")) < 0.3 < value("cka debiased", "", "oracle")
    )


@places
def test_oracles_are_compared_and_retrieved(slot):
    x, y = vectors(slot), vectors(slot, inputs()["oracles"])
    for how in ("raw", "centred"):
        a, b = transformed(x, how), transformed(y, how)
        every = a @ b.T / np.linalg.norm(a, axis=1)[:, None] / np.linalg.norm(b, axis=1)
        assert value("oracle cosine", how, "oracle", slot=slot) == pytest.approx(
            np.diag(every).mean()
        )
        null = value("oracle cosine", how, "oracle", "null", slot=slot)
        assert null == pytest.approx(every[~np.eye(N, dtype=bool)].mean())
    held = retrieval(x, y)
    for measure, wanted, chance in (
        ("retrieval top 1", held.top_1, 1 / N),
        ("retrieval top 5", held.top_5, 5 / N),
        ("retrieval rank", held.rank, 0.5),
    ):
        assert value(measure, "centred", "oracle", slot=slot) == pytest.approx(wanted.mean())
        null = value(measure, "centred", "oracle", "null", slot=slot)
        assert null == pytest.approx(chance)


@places
def test_images_are_compared_with_placebos(slot):
    x = vectors(slot)
    placebos = np.stack([vectors(slot, each) for each in inputs()["placebo"]])
    held = scatter(x, placebos, n_permutations=19, rng=rng())
    for column, wanted in (("value", held.ratio.mean), ("low", held.ratio.low), ("p_value", 0.05)):
        found = value("trS/trN", "", "placebo", column, slot=slot)
        assert found == pytest.approx(wanted)
    rank = np.mean([retrieval(each, x).rank.mean() for each in placebos])
    assert value("retrieval rank", "centred", "placebo", slot=slot) == pytest.approx(rank)
    ratio = np.mean([spectrum(each - x).participation_ratio for each in placebos])
    found = value("placebo participation ratio", "", "placebo", slot=slot)
    assert found == pytest.approx(ratio)


@places
def test_dependence_on_the_answer_is_tested(slot):
    wanted = dependence(vectors(slot), ANSWERS, rng=rng()).value
    assert value("dependence", "", "answer", slot=slot) == pytest.approx(wanted)
    assert 0.05 <= value("dependence", "", "answer", "p_value", slot=slot) <= 1


def test_intervals_hold_their_values():
    rows = measured().to_frame().dropna(subset=["low", "high"])
    assert set(rows["measure"]) >= {"inter-instance cosine", "norm", "drift", "retrieval top 1"}
    assert (rows["low"] <= rows["value"] + 1e-9).all()
    assert (rows["value"] <= rows["high"] + 1e-9).all()


def test_equal_generators_give_equal_tables_and_arguments_stay_as_they_are():
    latents, given_ = states(0, 4.0, 2.0), inputs()
    again = similarity(latents, **given_, n_permutations=19, rng=rng())
    assert again.to_frame().equals(measured().to_frame())
    np.testing.assert_array_equal(latents, states(0, 4.0, 2.0))
    np.testing.assert_array_equal(given_["placebo"], inputs()["placebo"])
    other = similarity(states(0, 4.0, 2.0), **inputs(), n_permutations=19, rng=rng(1))
    assert not other.to_frame()["low"].equals(again.to_frame()["low"])


def test_single_precision_changes_only_late_digits():
    single = similarity(
        states(0, 4.0, 2.0).astype(np.float32), n_permutations=1, rng=rng()
    ).to_frame()
    double = similarity(states(0, 4.0, 2.0), n_permutations=1, rng=rng()).to_frame()
    np.testing.assert_allclose(single["value"], double["value"], rtol=1e-3, atol=1e-5)


@given(seeds)
@settings(max_examples=8)
def test_values_do_not_hang_on_the_order_of_runs_and_mostly_not_on_rotation(seed):
    latents, placebo = states(seed, 1.0, 2.0), states(seed + 1, 1.0, 2.0)
    order, turn = rng(seed).permutation(N), rotation(seed, D)

    def values(which):
        rows = similarity(
            which(latents), placebo=which(placebo), n_permutations=1, rng=rng()
        ).to_frame()
        return rows.set_index(KEY[1:])["value"]

    plain = values(lambda held: held)
    np.testing.assert_allclose(values(lambda held: held[order]), plain, atol=1e-6)
    turned = values(lambda held: held @ turn)
    scaling = plain.index.get_level_values("transform") == "z-scored"
    np.testing.assert_allclose(turned[~scaling], plain[~scaling], atol=1e-6)
    assert not np.allclose(turned[scaling], plain[scaling])


@pytest.mark.parametrize("how", ["raw", "centred"])
def test_cosines_of_single_pairs_are_kept_for_heatmaps(how):
    held = measured().cosines["latents", how]
    assert held.shape == (SLOTS, N, N)
    for slot in range(SLOTS):
        np.testing.assert_allclose(held[slot], cosines(transformed(vectors(slot), how)), atol=1e-9)


def test_runs_of_a_group_are_no_pair_of_instances():
    twice = np.repeat(states(0), 2, axis=0)
    groups = [str(i // 2) for i in range(2 * N)]
    alone = frame(found=similarity(states(0), n_permutations=1, rng=rng()))
    grouped = frame(found=similarity(twice, groups=groups, n_permutations=1, rng=rng()))
    naive = frame(found=similarity(twice, n_permutations=1, rng=rng()))
    key = ("inter-instance cosine", "raw", "")
    assert grouped.loc[key, "value"] == pytest.approx(alone.loc[key, "value"])
    assert naive.loc[key, "value"] > alone.loc[key, "value"] + 0.01
    wide, narrow = (
        each.loc[("norm", "", ""), "high"] - each.loc[("norm", "", ""), "low"]
        for each in (grouped, naive)
    )
    assert wide > 1.2 * narrow


@pytest.mark.parametrize("hits", [0.0, 0.3, 1.0])
def test_shares_of_hits_are_as_uncertain_as_there_are_groups(hits):
    every = np.full(40, hits)
    wide, narrow = share_of(every, np.arange(40) // 4), share_of(every, np.arange(40))
    assert wide.mean == narrow.mean == hits
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low) > 0.1
    assert 0 <= wide.low <= hits <= wide.high <= 1


def test_a_population_that_never_varies_has_no_numbers_where_there_are_none():
    assert value("inter-instance cosine", "raw", population="dummy") == pytest.approx(1)
    assert value("share between instances", population="dummy") == pytest.approx(0, abs=1e-20)
    assert value("rank", "raw", population="dummy") == 1
    for measure, transform, against in (
        ("inter-instance cosine", "centred", ""),
        ("rank", "centred", ""),
        ("intrinsic dimension", "", ""),
        ("cka debiased", "", "next slot"),
        ("dependence", "", "answer"),
    ):
        assert np.isnan(value(measure, transform, against, population="dummy"))
    assert value("retrieval top 1", "centred", "oracle", population="dummy") == pytest.approx(1 / N)


def test_placebos_of_baselines_are_measured_too():
    found = similarity(
        states(0),
        baselines={"image": states(1, image=5.0)},
        placebo={"latents": states(2), "image": states(3, image=5.0)},
        n_permutations=19,
        rng=rng(),
    )
    latents, image = (frame(name, JOINED, found) for name in ("latents", "image"))
    key = ("trS/trN", "", "placebo")
    assert latents.loc[key, "low"] < 1 < latents.loc[key, "high"]
    assert image.loc[key, "low"] > 10


def test_signs_are_the_numbers_of_the_joined_slots():
    signs = measured().signs()
    assert signs.cosine == value("inter-instance cosine", "raw", slot=JOINED)
    assert signs.between == value("share between instances", slot=JOINED)
    assert signs.ratio is not None
    assert signs.ratio.high == value("trS/trN", "", "placebo", "high", slot=JOINED)
    assert signs.rank is not None
    assert signs.rank.low == value("retrieval rank", "centred", "placebo", "low", slot=JOINED)
    assert signs.participation == value("participation ratio", "centred", slot=JOINED)
    assert signs.baselines.keys() == {"text", "dummy"}
    assert measured().signs(slot=1).cosine == value("inter-instance cosine", "raw", slot=1)
    assert measured().signs(population="text").ratio is None


@pytest.mark.parametrize(
    ("latents", "placebo", "word"),
    [
        (states(0, 20.0, 5.0), states(1, 20.0, 5.0), "anisotropic"),
        (states(0, 0.0, 5.0), states(1, 0.0, 5.0), "spread"),
        (states(0, 9.0, n=100), states(1, 9.0, n=100), "collapsed"),
        (np.tile(states(0)[:1], (N, 1, 1)), None, "collapsed"),
        (states(0, 9.0, 5.0), None, "inconclusive"),
    ],
    ids=["anisotropic", "spread", "collapsed", "constant", "no placebo"],
)
def test_planted_geometry_is_named(latents, placebo, word):
    found = similarity(latents, placebo=placebo, n_permutations=19, rng=rng())
    assert found.degeneracy().word == word
    if word == "collapsed":
        functional = found.degeneracy(pie="absent", tie="absent", nec="present")
        assert functional.word == "collapsed-but-functional"


def test_a_table_of_one_measure_has_a_column_per_population():
    wide = measured().table("inter-instance cosine", transform="raw")
    assert wide.columns.tolist() == ["latents", "text", "dummy"]
    assert wide.index.tolist() == [JOINED, 0, 1, 2]
    assert wide.loc[1, "text"] == value("inter-instance cosine", "raw", population="text", slot=1)
    contracted = measured().table("contraction")
    assert contracted.columns.tolist() == ["latents"]


def test_what_was_not_measured_is_refused_with_what_was():
    with pytest.raises(UnknownNameError, match=r"\('raw', ''\).*effective rank, eigenvalues"):
        measured().table("inter-instance cosine")
    with pytest.raises(UnknownNameError, match="nothing at all"):
        measured().table("warmth")
    with pytest.raises(UnknownNameError, match=r"No slot 7 of 'latents'.*\[-1, 0, 1, 2\]"):
        measured().signs(slot=7)
    with pytest.raises(UnknownNameError, match="No slot -1 of 'images'"):
        measured().degeneracy(population="images")


def changed(array, place, to):
    held = array.copy()
    held[place] = to
    return held


BAD = {
    "one run": (states(0)[:1], {}, "at least 4 runs"),
    "no slots": (states(0)[:, :0], {}, r"expected \(runs, slots, d_model\)"),
    "two axes": (states(0)[:, 0], {}, r"expected \(runs, slots, d_model\)"),
    "nan": (changed(states(0), (5, 1, 2), np.nan), {}, "finite numbers, first in run 5, slot 1"),
    "zeros": (changed(states(0), (5, 1), 0), {}, "no direction, first in run 5, slot 1"),
    "groups": (states(0), {"groups": ["a", "b"]}, "24 runs came with 2 groups"),
    "one group": (states(0), {"groups": ["a"] * N}, "belong to one group"),
    "answers": (states(0), {"answers": ["a"]}, "24 runs came with 1 answers"),
    "baseline slots": (
        states(0),
        {"baselines": {"text": states(1)[:, :2]}},
        r"text have shape \(24, 2, 16\) and latents \(24, 3, 16\)",
    ),
    "baseline nan": (
        states(0),
        {"baselines": {"text": changed(states(1), (3, 0, 0), np.inf)}},
        "text have entries that are no finite numbers, first in run 3, slot 0",
    ),
    "baseline name": (states(0), {"baselines": {"latents": states(1)}}, "rename it"),
    "placebo slots": (states(0), {"placebo": states(1)[:, :2]}, "placebo latents have shape"),
    "placebo sets": (states(0), {"placebo": states(1)[None][:0]}, "hold no set of runs"),
    "placebo name": (
        states(0),
        {"placebo": {"imgae": states(1)}},
        "'imgae' were given, which is none of latents",
    ),
    "oracle slots": (states(0), {"oracles": states(1)[:, :2]}, "oracles have shape"),
    "nudged runs": (states(0), {"nudged": states(0)[:9]}, "nudged latents have shape"),
    "no nudge": (states(0), {"nudged": states(0)}, "no nudge fired"),
    "components": (states(0), {"n_top": 0}, "n_top=0"),
    "permutations": (states(0), {"n_permutations": 0}, "n_permutations=0"),
}


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_in_plain_words(name):
    latents, more, words = BAD[name]
    with pytest.raises(SampleError, match=words):
        similarity(latents, **more, rng=rng())


def test_one_slot_has_no_steps_but_all_else():
    found = similarity(states(0)[:, :1], n_permutations=1, rng=rng())
    rows = found.to_frame()
    assert not set(rows["measure"]) & {"drift", "intra-instance cosine", "adjacent cosine"}
    alone, joined = (frame(slot=slot, found=found)["value"] for slot in (0, JOINED))
    np.testing.assert_allclose(alone[joined.index], joined, atol=1e-9)


def test_no_function_of_the_geometry_draws_numbers_of_its_own():
    from mindseye.readouts import geometry

    for name in geometry.__all__:
        held = getattr(geometry, name)
        if inspect.isfunction(held) and "rng" in inspect.signature(held).parameters:
            assert inspect.signature(held).parameters["rng"].default is inspect.Parameter.empty
