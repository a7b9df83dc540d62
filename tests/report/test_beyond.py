"""The tables beyond the six effects hold the numbers of their frames, or say why they do not."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from mindseye.report.beyond import Row, Table, beyond
from mindseye.report.numbers import nats, percent, span_of
from mindseye.studies import Audit
from tests.report.audits import altered, computed

pytestmark = pytest.mark.model


def tables(audit: Audit) -> dict[str, Table]:
    """The tables by title."""
    return {table.title: table for table in beyond(audit)}


def cells(row: Row) -> list[tuple[str, str]]:
    """What a row says."""
    return [(cell.mean, cell.interval) for cell in row.cells]


def test_contrasts_are_those_of_the_mediation(found: Audit) -> None:
    table = tables(found)["What a wider level adds"]
    frame = found.mediation.contrasts.set_index(["contrast", "effect"])
    assert (table.columns, [row.name for row in table.rows]) == (
        ("PIE", "TIE"),
        ["relay", "marker"],
    )
    for row in table.rows:
        wanted = [frame.loc[(row.name, effect)] for effect in ("pie", "tie")]
        assert cells(row) == [(nats(w["mean"]), span_of(w["low"], w["high"])) for w in wanted]


def test_pinned_runs_have_a_row_per_level_and_pin(found: Audit) -> None:
    table = tables(found)["With the latents pinned"]
    assert [(row.name, row.detail) for row in table.rows] == [
        *((level, pin) for level in ("embedding", "kv", "span") for pin in ("zero", "noise")),
        ("span", "cut"),
    ]
    frame = found.mediation.controlled.set_index(["level", "pin", "quantity"])["mean"]
    for row in table.rows:
        wanted = [nats(frame.loc[(row.name, row.detail, name)]) for name in ("cde", "nec")]
        assert [cell.mean for cell in row.cells] == wanted


def test_shares_are_shown_in_percent_or_refused_in_words(found: Audit) -> None:
    shares = found.mediation.shares.assign(mean=0.5, low=0.25, high=0.75, refused="")
    shares.loc[shares["level"] == "kv", "refused"] = "TE's interval covers 0"
    frames = computed(found.mediation) | {"shares": shares}
    table = tables(replace(found, mediation=altered(found.mediation, frames)))
    embedding, kv, _ = table["Proportion mediated"].rows
    assert cells(embedding) == [(percent(0.5), "25% to 75%")] * 2
    assert (kv.cells, kv.refused) == ((), "TE's interval covers 0")


def test_backup_is_the_mean_with_the_path_open_and_cut(found: Audit) -> None:
    table = tables(found)["Backup"]
    assert table.columns == ("PIE at kv",)
    assert [row.name for row in table.rows] == ["path open", "path cut", "difference"]
    for row, way in zip(table.rows, ("open", "cut", "backup"), strict=True):
        assert row.cells[0].mean == nats(found.backup[way].mean())
    pie = found.mediation.effect("pie", level="kv")
    assert cells(table.rows[0]) == [(nats(pie.mean), span_of(pie.low, pie.high))]


def test_a_number_is_light_only_if_its_whole_interval_is_within_the_margin(found: Audit) -> None:
    size = found.mediation.margin_size
    contrasts = found.mediation.contrasts.assign(mean=0.0, low=-size / 2, high=size / 2)
    contrasts.loc[contrasts["contrast"] == "marker", "high"] = 2 * size
    frames = computed(found.mediation) | {"contrasts": contrasts}
    table = tables(replace(found, mediation=altered(found.mediation, frames)))
    relay, marker = table["What a wider level adds"].rows
    assert [cell.is_small for cell in relay.cells] == [True, True]
    assert [cell.is_small for cell in marker.cells] == [False, False]


def test_what_was_not_measured_has_no_table(found: Audit) -> None:
    one_level = found.mediation.contrasts.iloc[:0]
    narrow = altered(
        found.mediation,
        computed(found.mediation) | {"contrasts": one_level},
        pinned=found.mediation.pinned.iloc[:0],
    )
    assert list(tables(replace(found, mediation=narrow))) == ["Proportion mediated", "Backup"]


def test_other_outcomes_stay_out(found: Audit) -> None:
    doubled = {
        name: pd.concat([frame, frame.assign(outcome="probability")])
        for name, frame in computed(found.mediation).items()
    }
    both = replace(found, mediation=altered(found.mediation, doubled))
    assert tables(both) == tables(found)
