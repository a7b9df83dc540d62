"""`write_report`: audits become a page, a summary and a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mindseye.errors import MindseyeError
from mindseye.report.output import FILES, write_whole
from mindseye.report.readings import WORDS, latents_view
from mindseye.report.rendering import assets, template, versions
from mindseye.report.view import VERDICTS, ReasonerView, view
from mindseye.studies import Audit

__all__ = ["SCHEMA_VERSION", "write_report"]

SCHEMA_VERSION = 2
"""Of `summary.json` and `rows.parquet`."""

_PAIRS_NOTE = (
    "A minimal pair changes one detail of the image, and with it the answer; "
    "a placebo pair changes one that leaves the answer as it is."
)


def write_report(
    audits: Sequence[Audit], out: Path, *, pairs_note: str = _PAIRS_NOTE, seed: int | None = None
) -> Path:
    """Write the files of a report into a folder: all of them or none.

    `report.html` has the verdicts, `latents.html` what the latents say, `summary.json` the numbers,
    `rows.parquet` every pair and `replacements.parquet` every replacement of every pair with the
    strangeness of what was fed. The pages link to each other and need no network and no other file.
    Drawing the examples replays their runs.

    Args:
        audits: One per reasoner, with different names.
        out: The folder; made if need be. Files of these names in it are replaced.
        pairs_note: A sentence that says what the pairs are.
        seed: Of the audits, to be written beside the results.

    Returns:
        The path of the first page.

    Raises:
        MindseyeError: No audit, or two of one name.
        OutputError: The folder cannot be written.
    """
    _check_names(audits)

    provenance = {"versions": versions(), "seed": seed}
    found = {audit.name: audit.summary() for audit in audits}
    summary = {"schema_version": SCHEMA_VERSION, **provenance, "reasoners": found}
    contents = (
        _render(audits, pairs_note, provenance).encode("utf-8"),
        _render_latents(audits, provenance).encode("utf-8"),
        f"{json.dumps(summary, indent=2, allow_nan=False)}\n".encode(),
        _table(audits).to_parquet(index=False),
        _replacements(audits).to_parquet(index=False),
    )
    write_whole(out, dict(zip(FILES, contents, strict=True)))
    return out / FILES[0]


def _check_names(audits: Sequence[Audit]) -> None:
    names = [audit.name for audit in audits]
    if not names:
        raise MindseyeError(
            "A report got no audit; it takes at least one. Pass what `audit` returns."
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise MindseyeError(
            f"A report got several audits of {', '.join(map(repr, twice))}; it takes one per "
            "reasoner. Write them into different folders."
        )


def _table(audits: Sequence[Audit]) -> pd.DataFrame:
    """Return one row per reasoner, pair, level and outcome, minimal and placebo pairs alike."""
    parts = []
    for audit in audits:
        for pairs, mediation in (("minimal", audit.mediation), ("placebo", audit.placebo)):
            rows = mediation.to_frame().copy()
            rows.insert(0, "reasoner", audit.name)
            rows.insert(1, "pairs", pairs)
            parts.append(rows)
    return pd.concat(parts, ignore_index=True)


def _replacements(audits: Sequence[Audit]) -> pd.DataFrame:
    """Return one row per reasoner, pair, arm and level; none where no latents were read."""
    parts = [
        audit.latents.replaced.assign(reasoner=audit.name)
        for audit in audits
        if audit.latents is not None
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({"reasoner": []})


def _render(audits: Sequence[Audit], pairs_note: str, provenance: dict[str, Any]) -> str:
    reasoners: list[ReasonerView] = [view(audit, f"r{i}") for i, audit in enumerate(audits)]
    return template("report.html.j2").render(
        reasoners=reasoners,
        levels=list(dict.fromkeys(d.level for r in reasoners for d in r.diagrams)),
        verdicts=VERDICTS,
        policies=list(dict.fromkeys(r.policy for r in reasoners)),
        pairs_note=pairs_note,
        provenance=provenance,
        **assets(),
    )


def _render_latents(audits: Sequence[Audit], provenance: dict[str, Any]) -> str:
    views = [latents_view(audit, f"r{i}") for i, audit in enumerate(audits)]
    return template("latents.html.j2").render(
        reasoners=[each for each in views if each is not None],
        words=WORDS,
        verdicts=VERDICTS,
        provenance=provenance,
        **assets(),
    )
