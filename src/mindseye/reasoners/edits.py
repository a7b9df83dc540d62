"""Edits of many branches as functions on hook points, for whole replays and for single steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from jaxtyping import Float
from torch import Tensor

from mindseye.errors import EditError
from mindseye.reasoners.hooks import Edit, Visit

__all__ = ["Branches", "write"]


@dataclass(slots=True, eq=False)
class Branches:
    """Sets of edits, one per row of a batch.

    Attributes:
        rows: The edits of each row; an empty set changes nothing.
        record: Hook names to keep, from all rows.
        kept: What was recorded, by hook name; of the last pass.
    """

    rows: Sequence[Sequence[Edit]]
    record: Sequence[str] = ()
    kept: dict[str, Tensor] = field(default_factory=dict)

    def check(self, n_seq: int) -> None:
        """Refuse edits that no run of this length can take.

        Raises:
            EditError: An attention pattern, or a position outside the run.
        """
        for edit in (edit for row in self.rows for edit in row):
            if edit.hook.endswith("hook_pattern"):
                raise EditError(
                    f"{edit.hook!r} can be read but not edited. Cut edges with a Knockout."
                )
            places = edit.positions
            if len(places) and not 0 <= int(places.min()) <= int(places.max()) < n_seq:
                raise EditError(
                    f"An edit of {edit.hook!r} at positions {places.tolist()} lies outside this "
                    f"run of {n_seq} positions. Pass positions of the run that is replayed."
                )

    def visits(self, begin: int, end: int) -> dict[str, Visit]:
        """Return one function per hook name for a pass over positions `begin` to `end`.

        Each edits first, then keeps.
        """
        edits: dict[str, list[tuple[int, Edit]]] = {name: [] for name in self.record}
        for row, branch in enumerate(self.rows):
            for edit in branch:
                part = _within(edit, begin, end)
                if part is not None:
                    edits.setdefault(edit.hook, []).append((row, part))
        return {name: self._visit(name, rows) for name, rows in edits.items()}

    def _visit(self, name: str, edits: list[tuple[int, Edit]]) -> Visit:
        keep = self._keep(name)

        def visit(activation: Tensor) -> Tensor | None:
            if edits:
                activation = activation.clone()
            for row, edit in edits:
                write(activation[row], edit)
            keep(activation)
            return activation if edits else None

        return visit

    def _keep(self, name: str) -> Callable[[Tensor], None]:
        def keep(activation: Tensor) -> None:
            if name in self.record:
                self.kept[name] = activation

        return keep


def _within(edit: Edit, begin: int, end: int) -> Edit | None:
    """Return the part of an edit that falls between two positions, counted from the first."""
    inside = (edit.positions >= begin) & (edit.positions < end)
    if not bool(inside.any()):
        return None
    if edit.value.shape[:1] != edit.positions.shape:
        raise EditError(
            f"An edit of {edit.hook!r} brings a value of shape {tuple(edit.value.shape)} for "
            f"{len(edit.positions)} positions. Bring one row per position."
        )
    return replace(edit, positions=edit.positions[inside] - begin, value=edit.value[inside])


def write(activation: Float[Tensor, "seq *dims"], edit: Edit) -> None:
    """Carry out an edit on an activation, in place.

    Raises:
        EditError: The value has another shape than what it replaces, or there is no such head.
    """
    if edit.head is not None:
        if activation.ndim != 3 or not 0 <= edit.head < activation.shape[1]:
            heads = f"heads 0 to {activation.shape[1] - 1}" if activation.ndim == 3 else "no heads"
            raise EditError(
                f"An edit of {edit.hook!r} names head {edit.head}, but it has {heads} there. Name "
                "one of these, or leave head out."
            )
        activation = activation[:, edit.head]
    wanted = activation[edit.positions].shape
    if wanted != edit.value.shape:
        raise EditError(
            f"An edit of {edit.hook!r} brings a value of shape {tuple(edit.value.shape)}; there it "
            f"takes {tuple(wanted)}. Patch between runs of equal segments."
        )
    activation[edit.positions] = edit.value.to(activation)
