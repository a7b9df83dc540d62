"""Words as the mediator: what one run said put into another, whatever its length."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mindseye.engine.cells import Cells
from mindseye.engine.exact import Branch, compute, snapshot
from mindseye.engine.twins import Twins
from mindseye.reasoners import Trace
from mindseye.reasoners.spans import positions

__all__ = ["WORDS", "runs_saying", "with_words", "word_cells"]

WORDS = "words"
"""The level at which words are exchanged as words: read anew, in runs of unequal lengths too."""


def word_cells(twins: Twins, *, read: Sequence[int] = (-1,)) -> Cells:
    """Compute Y(x_i, words(x_j)): each input with what either run said.

    Where both runs said equally much this is the level `embedding`.

    Args:
        twins: The pair's runs, of one segment of words each.
        read: Positions whose logits are wanted, counted from the end.

    Raises:
        EditError: Latents that are no words, or several segments.
    """
    runs = (twins.reference, twins.clean)
    said = [run.words for run in runs]
    crossed = [[with_words(run, words, read) for words in said] for run in runs]
    return Cells(
        crossed=torch.stack([torch.stack(row) for row in crossed]),
        unedited=torch.stack([_read(run, read) for run in runs]),
        edits=([], []),
        moved=float(said[0] != said[1]),
        missed=0.0,
    )


@torch.no_grad()
def with_words(
    trace: Trace, words: Sequence[int], read: Sequence[int]
) -> Float[Tensor, "read vocab"]:
    """Return the logits of a run with other words in its segment.

    Args:
        trace: A run, cut where the outcome is read.
        words: What stands in its segment instead.
        read: Positions whose logits are wanted, counted from the end.

    Raises:
        EditError: Latents that are no words, or several segments.
    """
    return _read(trace.with_words(words), read)


def runs_saying(trace: Trace, *each: Sequence[int]) -> list[Trace]:
    """Run a sample again with words said for the model, and let it answer from there.

    Args:
        trace: A whole run of the sample, of one segment of words.
        each: What is said before the mark that ended its own; one run for each, as a batch.
    """
    marks = trace.token_ids[positions(trace.labels, "end") - trace.n_prompt].tolist()
    return trace.reasoner.run_batch(
        [trace.sample] * len(each),
        max_new_tokens=trace.settings.max_new_tokens,
        saying=[[*words, *marks] for words in each],
        past_key_values=True,
    )


def _read(trace: Trace, read: Sequence[int]) -> Float[Tensor, "read vocab"]:
    held = snapshot(trace, min(trace.n_prompt, len(trace.labels) + min(read)))
    return compute(held, [Branch()], read=read).logits[0]
