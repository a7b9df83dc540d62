"""The digits world, able to draw a scene again with one attribute changed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mindseye.errors import SampleError
from mindseye.samples import Sample
from mindseye.tasks.digits import _TURNS, Digits, _handwriting, _Question, _Scene


class Drawer(Digits):
    """Digits whose scenes can be changed in one attribute of the target.

    `digit` shows one that the scene did not have, `handwriting` the same one otherwise written;
    `colour` exchanges colours with another cell, `position` all of it.
    """

    def redraw(self, sample: Sample, attribute: str, *, rng: np.random.Generator) -> Sample:
        split = sample.id.split("/")[1]
        scene = _Scene(sample.meta["colours"], sample.meta["digits"], sample.meta["glyphs"])
        question = self._question_of(sample)
        changed = self._changed(scene, question.target, attribute, split, rng)
        # The question's words stay. What they point at may stand elsewhere now, or be gone.
        match question.kind:
            case "zoom":
                target = changed.colours.index(scene.colours[question.target])
            case "colour_of" if attribute == "digit":
                raise SampleError(f"The digit that sample {sample.id!r} asks for would be gone.")
            case "colour_of":
                target = changed.digits.index(scene.digits[question.target])
            case _:
                target = question.target
        return self._sample(changed, replace(question, target=target), split, sample.id)

    def _changed(
        self, scene: _Scene, target: int, attribute: str, split: str, rng: np.random.Generator
    ) -> _Scene:
        by_digit = _handwriting(split, self.distortions).by_digit
        match attribute:
            case "digit":
                digit = int(rng.choice([d for d in range(10) if d not in scene.digits]))
                return scene.with_glyph(target, digit, int(rng.choice(by_digit[digit])))
            case "handwriting":
                alike = by_digit[scene.digits[target]]
                glyph = int(rng.choice(alike[alike != scene.glyphs[target]]))
                return scene.with_glyph(target, scene.digits[target], glyph)
            case "colour" | "position" if self.size > 1:
                order = list(range(self.size**2))
                other = (target + int(rng.integers(1, len(order)))) % len(order)
                order[target], order[other] = other, target
                colours = tuple(scene.colours[i] for i in order)
                if attribute == "colour":
                    return replace(scene, colours=colours)
                digits = tuple(scene.digits[i] for i in order)
                return _Scene(colours, digits, tuple(scene.glyphs[i] for i in order))
        raise SampleError(
            f"Digits cannot change {attribute!r}; it changes digit, handwriting and, in scenes of "
            "several cells, colour and position."
        )

    def _question_of(self, sample: Sample) -> _Question:
        cells = [self._box(cell) for cell in range(self.size**2)]
        target = cells.index(sample.regions["target"])
        if sample.kind != "transform":
            return _Question(sample.kind, target=target, place=target)
        turn = next(turn for turn in _TURNS if sample.question.startswith(turn.sentence))
        places = [self._place(cell) for cell in range(self.size**2)]
        place = next(i for i, name in enumerate(places) if sample.question.endswith(f"{name}?"))
        return _Question(sample.kind, target=target, turn=turn, place=place)
