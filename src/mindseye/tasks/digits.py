"""The digits world: real handwriting in coloured cells, and questions that need looking or turning.

A scene is a square grid of coloured cells with one handwritten digit each, no digit and no colour
twice. Two kinds of question make the task: *zoom* ("Which digit is in the blue cell?") and
*transform* ("Turn the picture a quarter clockwise. Which digit ends up at the top left?"). A
third, *sort* ("Which digit is the second largest?"), takes several steps. Three simpler kinds (a
digit or a colour at a position, the colour of a digit) are there to teach a model the scene.

The handwriting is scikit-learn's `load_digits` (1,797 images of 8 x 8), split into train and test
so that the splits never share an image.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from mindseye.errors import SampleError
from mindseye.plugins import register
from mindseye.samples import Box, Pair, Pixels, Sample
from mindseye.tasks.perturbed import Perturbed

__all__ = ["CELL", "COLOURS", "KINDS", "Digits"]

CELL = 32
"""Side of a cell, in pixels."""

COLOURS = {
    "red": (190, 45, 60),
    "green": (35, 130, 70),
    "blue": (40, 85, 185),
    "orange": (225, 115, 20),
    "purple": (125, 60, 150),
    "grey": (105, 110, 115),
}

TASK_KINDS = ("zoom", "transform")
KINDS = (*TASK_KINDS, "digit_at", "colour_at", "colour_of")
"""What the base was taught; `sort` is what it was not."""

_GLYPH = 24
_MARGIN = (CELL - _GLYPH) // 2
_TEST_SHARE = 0.25
_STREAMS = {"train": 0, "test": 1}
_ROWS = {1: ("",), 2: ("top", "bottom")}
_COLUMNS = {1: ("",), 2: ("left", "right")}


@dataclass(frozen=True, slots=True)
class _Turn:
    """A way to move the whole scene: its sentence, and the same on any grid or image."""

    sentence: str
    noun: str
    apply: Callable[[np.ndarray], np.ndarray]


_TURNS = (
    _Turn("Turn the picture a quarter clockwise.", "quarter turn", lambda a: np.rot90(a, -1)),
    _Turn("Turn the picture a quarter anticlockwise.", "quarter turn", lambda a: np.rot90(a, 1)),
    _Turn("Turn the picture upside down.", "half turn", lambda a: np.rot90(a, 2)),
    _Turn("Mirror the picture left to right.", "mirroring", lambda a: a[:, ::-1]),
    _Turn("Mirror the picture top to bottom.", "mirroring", lambda a: a[::-1]),
)


@dataclass(frozen=True, slots=True)
class _Scene:
    """What stands where, by cell in reading order."""

    colours: tuple[str, ...]
    digits: tuple[int, ...]
    glyphs: tuple[int, ...]

    def with_glyph(self, cell: int, digit: int, glyph: int) -> _Scene:
        return replace(
            self,
            digits=(*self.digits[:cell], digit, *self.digits[cell + 1 :]),
            glyphs=(*self.glyphs[:cell], glyph, *self.glyphs[cell + 1 :]),
        )


@dataclass(frozen=True, slots=True)
class _Question:
    """A question whose answer sits in the cell `target` of the scene."""

    kind: str
    target: int
    turn: _Turn | None = None
    place: int = 0


@dataclass(frozen=True, slots=True)
class _Handwriting:
    """Glyphs of one split: opacity in 0..255, and which of them show each digit."""

    opacity: np.ndarray
    by_digit: tuple[np.ndarray, ...]


@register("task", "digits")
class Digits(Perturbed):
    """The digits world.

    Args:
        size: Cells per side, 1 or 2; a scene of one cell is only good for naming. More cells would
            need more colours than can be told apart at a glance.
        kinds: Question kinds to draw from, evenly.
        distortions: How many rotated, scaled and sheared copies of each train glyph to add.
            Test handwriting is never distorted.

    Raises:
        SampleError: Another size, an unknown kind, one that this size cannot pose, or a negative
            number of distortions.
    """

    def __init__(
        self, size: int = 2, kinds: Sequence[str] = TASK_KINDS, distortions: int = 0
    ) -> None:
        if size not in _ROWS:
            raise SampleError(f"Digits got size={size}; scenes have 1 or 2 cells per side.")
        if distortions < 0:
            raise SampleError(f"Digits got distortions={distortions}; it takes 0 or more copies.")
        possible = (*KINDS, "sort") if size > 1 else ("zoom", "colour_of")
        if not kinds or not set(kinds) <= set(possible):
            raise SampleError(
                f"Digits got kinds={tuple(kinds)}; size={size} offers {', '.join(possible)}."
            )
        self.size = size
        self.kinds = tuple(kinds)
        self.distortions = distortions

    def samples(self, n: int, *, split: str = "test", seed: int = 0) -> list[Sample]:
        """Draw `n` samples; sample `i` is the same for every `n`.

        Raises:
            SampleError: An unknown split, or a negative `n` or `seed`.
        """
        _check_draw(n, split, seed)
        draws = (self._draw(split, seed, i) for i in range(n))
        return [
            self._sample(scene, question, split, f"digits/{split}/{seed}/{i}")
            for i, (scene, question, _) in enumerate(draws)
        ]

    def pairs(
        self, n: int, *, kind: str = "minimal", split: str = "test", seed: int = 0
    ) -> list[Pair]:
        """Draw `n` pairs; pair `i` has sample `i` as its clean side.

        `minimal` pairs change the target's digit and so the answer. `placebo` pairs keep the
        answer: every other one shows the target in another handwriting, the rest change a digit
        that was not asked for; their foil is a digit that neither scene shows.

        Raises:
            SampleError: An unknown kind or split, a negative `n` or `seed`, or question kinds that
                do not ask for a digit.
        """
        _check_draw(n, split, seed)
        if kind not in ("minimal", "placebo"):
            raise SampleError(f"Digits got kind={kind!r}; pairs are 'minimal' or 'placebo'.")
        if not set(self.kinds) <= {"zoom", "transform", "digit_at", "sort"}:
            raise SampleError(f"Pairs need questions for a digit; kinds are {self.kinds}.")
        if kind == "placebo" and self.size == 1:
            raise SampleError("Placebo pairs need a bystander cell; pass size=2.")
        return [self._pair(kind, split, seed, i) for i in range(n)]

    def redraw(self, sample: Sample, attribute: str, *, rng: np.random.Generator) -> Sample:
        """Draw one of this world's scenes again with one attribute of the target changed.

        Args:
            sample: Of this world, with this many cells.
            attribute: `digit` shows one that the scene did not have, `handwriting` the same one
                otherwise written; `colour` exchanges colours with another cell, `position` all.
            rng: Draws what it is changed to.

        Raises:
            SampleError: Another attribute, one that this size or question cannot change, or a
                sample of another world.
        """
        scene, question, split = self._recall(sample)
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

    def reword(self, sample: Sample, edit: str, *, rng: np.random.Generator) -> str:
        """Say the imagination of one of this world's samples otherwise.

        Args:
            sample: Of this world, with this many cells.
            edit: `paraphrase` says the same in another order; `attribute` changes one fact that
                was not asked for; `contradiction` changes the one that was, so that the words lead
                to another answer.
            rng: Draws the order, or what is said instead.

        Raises:
            SampleError: Another edit, or a sample of another world.
        """
        scene, question, _ = self._recall(sample)
        asks_colour = question.kind in ("colour_of", "colour_at")
        match edit:
            case "paraphrase":
                return self._reorder(self._imagine(scene, question), question, rng)
            case "attribute" if question.kind in ("transform", "sort"):
                cell, digit = self._spare(scene, question, _absent(scene, rng), rng)
                return self._imagine(scene.with_glyph(cell, digit, scene.glyphs[cell]), question)
            case "attribute" | "contradiction":
                recolour = asks_colour == (edit == "contradiction")
                change = _with_colour if recolour else _with_digit
                return self._imagine(change(scene, question.target, rng), question)
        raise SampleError(
            f"Digits cannot reword an imagination by {edit!r}; it knows paraphrase, attribute and "
            "contradiction."
        )

    def _reorder(self, said: str, question: _Question, rng: np.random.Generator) -> str:
        """Say sentences, or what was seen at each place, in another order."""
        if question.turn is None:
            first, second = said.removesuffix(".").split(". ")
            return f"{second}. {first}."
        opening, seen = said.removesuffix(".").split(": ")
        parts = seen.split(", ")
        shift = int(rng.integers(1, len(parts)))
        return f"{opening}: {', '.join(parts[shift:] + parts[:shift])}."

    def _recall(self, sample: Sample) -> tuple[_Scene, _Question, str]:
        """Return the scene behind a sample, what was asked, and the split of its handwriting.

        Raises:
            SampleError: It is none of this world's.
        """
        try:
            split = sample.id.split("/")[1]
            scene = _Scene(*(tuple(sample.meta[part]) for part in ("colours", "digits", "glyphs")))
            return scene, self._question_of(sample), split
        except (IndexError, KeyError, ValueError, StopIteration) as fault:
            raise SampleError(
                f"Sample {sample.id!r} is none of the digits world of size {self.size}, so its "
                "scene is not known. Give it samples of task('digits')."
            ) from fault

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

    def _pair(self, kind: str, split: str, seed: int, i: int) -> Pair:
        scene, question, rng = self._draw(split, seed, i)
        hand = _handwriting(split, self.distortions)
        absent = _absent(scene, rng)
        other, foil = absent[0], None
        if kind == "minimal":
            changed = scene.with_glyph(
                question.target, other, int(rng.choice(hand.by_digit[other]))
            )
        elif i % 2 == 0:
            digit = scene.digits[question.target]
            alike = hand.by_digit[digit]
            glyph = int(rng.choice(alike[alike != scene.glyphs[question.target]]))
            changed, foil = scene.with_glyph(question.target, digit, glyph), str(absent[1])
        else:
            bystander, other = self._spare(scene, question, absent, rng)
            glyph = int(rng.choice(hand.by_digit[other]))
            changed = scene.with_glyph(bystander, other, glyph)
            foil = str(next(digit for digit in absent if digit != other))
        name = f"digits/{split}/{seed}/{i}"
        return Pair(
            clean=self._sample(scene, question, split, name),
            reference=self._sample(changed, question, split, f"{name}/{kind}"),
            kind=kind,
            foil=foil,
            id=f"{name}/{kind}",
        )

    def _draw(self, split: str, seed: int, i: int) -> tuple[_Scene, _Question, np.random.Generator]:
        rng = np.random.default_rng([seed, _STREAMS[split], i])
        n_cells = self.size**2
        hand = _handwriting(split, self.distortions)
        digits = rng.permutation(10)[:n_cells]
        names = tuple(COLOURS)
        colours = rng.permutation(len(names))[:n_cells]
        scene = _Scene(
            colours=tuple(names[c] for c in colours),
            digits=tuple(int(d) for d in digits),
            glyphs=tuple(int(rng.choice(hand.by_digit[d])) for d in digits),
        )
        return scene, self._question(rng, scene), rng

    def _question(self, rng: np.random.Generator, scene: _Scene) -> _Question:
        kind = self.kinds[int(rng.integers(len(self.kinds)))]
        place = int(rng.integers(self.size**2))
        if kind == "sort":
            return _Question(kind, target=_second_largest(scene))
        if kind != "transform":
            return _Question(kind, target=place, place=place)
        turn = _TURNS[int(rng.integers(len(_TURNS)))]
        cells = np.arange(self.size**2).reshape(self.size, self.size)
        return _Question(kind, target=int(turn.apply(cells).ravel()[place]), turn=turn, place=place)

    def _sample(self, scene: _Scene, question: _Question, split: str, name: str) -> Sample:
        if question.kind == "sort":  # the scene may have been changed since it was asked
            question = replace(question, target=_second_largest(scene))
        pixels = self._render(scene, _handwriting(split, self.distortions))
        return Sample(
            images=(pixels,),
            question=self._ask(scene, question),
            answer=self._answer(scene, question),
            regions={"target": self._box(question.target)},
            helper=np.ascontiguousarray(self._help(pixels, scene, question)),
            imagination=self._imagine(scene, question),
            id=name,
            kind=question.kind,
            meta={"digits": scene.digits, "colours": scene.colours, "glyphs": scene.glyphs},
        )

    def _help(self, pixels: Pixels, scene: _Scene, question: _Question) -> Pixels:
        """Show what one would imagine: the cell, the picture turned, or its cells in order."""
        if question.turn is not None:
            return question.turn.apply(pixels)
        order = _ascending(scene) if question.kind == "sort" else [question.target]
        boxes = [self._box(cell) for cell in order]
        return np.hstack([pixels[top:bottom, left:right] for left, top, right, bottom in boxes])

    def _spare(
        self, scene: _Scene, question: _Question, digits: Sequence[int], rng: np.random.Generator
    ) -> tuple[int, int]:
        """Draw a cell that was not asked for, and the first digit that leaves the answer there."""
        n_cells = self.size**2
        first = int(rng.integers(1, n_cells))
        if question.kind != "sort":
            return (question.target + first) % n_cells, digits[0]
        return next(
            (cell, digit)
            for step in range(n_cells - 1)
            for cell in [(question.target + 1 + (first - 1 + step) % (n_cells - 1)) % n_cells]
            for digit in digits
            if _second_largest(scene.with_glyph(cell, digit, scene.glyphs[cell])) == question.target
        )

    def _ask(self, scene: _Scene, question: _Question) -> str:
        place = self._place(question.place)
        match question.kind:
            case "zoom":
                return f"Which digit is in the {scene.colours[question.target]} cell?"
            case "colour_of":
                return f"Which colour is the cell of the {scene.digits[question.target]}?"
            case "digit_at":
                return f"Which digit is at the {place}?"
            case "colour_at":
                return f"Which colour is at the {place}?"
            case "sort":
                return "Which digit is the second largest?"
        assert question.turn is not None
        return f"{question.turn.sentence} Which digit ends up at the {place}?"

    def _answer(self, scene: _Scene, question: _Question) -> str:
        if question.kind in ("colour_of", "colour_at"):
            return scene.colours[question.target]
        return str(scene.digits[question.target])

    def _imagine(self, scene: _Scene, question: _Question) -> str:
        if question.kind == "sort":
            *seen, last = (str(scene.digits[cell]) for cell in _ascending(scene))
            largest = scene.digits[_second_largest(scene)]
            order = f"From small to large I see {', '.join(seen)}, {last}"
            return f"{order}. The second largest is {largest}."
        if question.turn is None:
            colour, digit = scene.colours[question.target], scene.digits[question.target]
            return f"I look closely at the {colour} cell. It shows a {digit}."
        turned = question.turn.apply(np.reshape(scene.digits, (self.size, self.size))).ravel()
        seen = ", ".join(f"{self._place(i)} {digit}" for i, digit in enumerate(turned))
        return f"After the {question.turn.noun} I see: {seen}."

    def _place(self, cell: int) -> str:
        row, column = divmod(cell, self.size)
        return f"{_ROWS[self.size][row]} {_COLUMNS[self.size][column]}".strip()

    def _box(self, cell: int) -> Box:
        row, column = divmod(cell, self.size)
        return column * CELL, row * CELL, (column + 1) * CELL, (row + 1) * CELL

    def _render(self, scene: _Scene, hand: _Handwriting) -> Pixels:
        pixels = np.empty((self.size * CELL, self.size * CELL, 3), np.uint8)
        for cell, (colour, glyph) in enumerate(zip(scene.colours, scene.glyphs, strict=True)):
            left, top, right, bottom = self._box(cell)
            pixels[top:bottom, left:right] = COLOURS[colour]
            y, x = top + _MARGIN, left + _MARGIN
            ground = np.array(COLOURS[colour], np.uint16)
            opacity = hand.opacity[glyph].astype(np.uint16)[..., None]
            ink = (ground * (255 - opacity) + 255 * opacity) // 255
            pixels[y : y + _GLYPH, x : x + _GLYPH] = ink
        return pixels


def _ascending(scene: _Scene) -> list[int]:
    """Return the cells from the smallest digit to the largest."""
    return sorted(range(len(scene.digits)), key=lambda cell: scene.digits[cell])


def _second_largest(scene: _Scene) -> int:
    return _ascending(scene)[-2]


def _absent(scene: _Scene, rng: np.random.Generator) -> list[int]:
    """Return the digits that a scene does not show, in drawn order."""
    return rng.permutation([d for d in range(10) if d not in scene.digits]).tolist()


def _with_digit(scene: _Scene, cell: int, rng: np.random.Generator) -> _Scene:
    """Return a scene as words tell it, with a digit in one cell that it does not have."""
    other = int(rng.choice([digit for digit in range(10) if digit not in scene.digits]))
    return scene.with_glyph(cell, other, scene.glyphs[cell])


def _with_colour(scene: _Scene, cell: int, rng: np.random.Generator) -> _Scene:
    """Return a scene as words tell it, with a colour in one cell that it does not have."""
    other = str(rng.choice([name for name in COLOURS if name not in scene.colours]))
    return replace(scene, colours=(*scene.colours[:cell], other, *scene.colours[cell + 1 :]))


def _check_draw(n: int, split: str, seed: int) -> None:
    if split not in _STREAMS:
        raise SampleError(f"Digits got split={split!r}; there are 'train' and 'test'.")
    if n < 0 or seed < 0:
        raise SampleError(f"Digits got n={n} and seed={seed}; both are whole numbers from 0 up.")


@functools.cache
def _handwriting(split: str, distortions: int) -> _Handwriting:
    """Load a split's glyphs once; every fourth image of each digit is for testing."""
    from sklearn.datasets import load_digits

    data: Any = load_digits()
    order = np.argsort(data.target, kind="stable")
    is_test = np.zeros(len(order), bool)
    is_test[order[:: round(1 / _TEST_SHARE)]] = True
    chosen = np.flatnonzero(is_test if split == "test" else ~is_test)
    images, labels = data.images[chosen] / 16, data.target[chosen]
    glyphs = np.stack([_enlarge(image) for image in images])
    if split == "train" and distortions:
        rng = np.random.default_rng(0)
        copies = [_distort(glyph, rng) for _ in range(distortions) for glyph in glyphs]
        glyphs = np.concatenate([glyphs, np.stack(copies)])
        labels = np.tile(labels, distortions + 1)
    by_digit = tuple(np.flatnonzero(labels == digit) for digit in range(10))
    return _Handwriting(np.round(glyphs * 255).astype(np.uint8), by_digit)


def _enlarge(image: np.ndarray) -> np.ndarray:
    small = Image.fromarray(image.astype(np.float32))
    return np.clip(np.asarray(small.resize((_GLYPH, _GLYPH), Image.Resampling.BICUBIC)), 0, 1)


def _distort(glyph: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rotate by about 8 degrees, scale by about 10 % and shear a little, around the centre."""
    from scipy.ndimage import affine_transform

    angle, shear = rng.normal(0, 0.14), rng.normal(0, 0.1)
    height, width = rng.normal(1, 0.1, size=2).clip(0.75, 1.25)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turn @ np.array([[1 / height, shear], [0, 1 / width]])
    centre = np.full(2, (_GLYPH - 1) / 2)
    return affine_transform(glyph, matrix, centre - matrix @ centre, order=1).clip(0, 1)
