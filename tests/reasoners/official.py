"""What the published decode loops decide, quirk for quirk, for a batch of one.

Each class remembers what one official loop remembers. Told the id that was sampled and the state it
was sampled from, it says which id becomes visible, whether that id's embedding or that state is fed
next, and whether the run is over. Written from the behaviour of the repositories named in each
docstring; nothing here imports mindseye, which is compared with it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

Feed = Literal["token", "state"]


class Ids(NamedTuple):
    """The ids that mean something to a loop."""

    start: int
    pad: int
    end: int
    eos: frozenset[int]
    answer: int | None = None


class Move(NamedTuple):
    """What one step of a loop decides."""

    visible: int
    feed: Feed
    stops: bool


@dataclass
class Loop(ABC):
    """One run of an official loop.

    Attributes:
        ids: Markers and end-of-text ids.
        n_slots: Most latents in a segment.
        last: The last visible id; at first, the prompt's.
        limit: Most ids to generate.
    """

    ids: Ids
    n_slots: int
    last: int
    limit: int | None = None
    n_said: int = field(default=0, init=False)
    latent: bool = field(default=False, init=False)

    may_stop_inside = True

    def step(self, sampled: int, state: Tensor | None = None) -> Move:
        visible = self.decide(sampled, state)
        self.last = visible
        self.n_said += 1
        full = self.limit is not None and self.n_said >= self.limit
        over = full or visible in self.ids.eos
        stops = over and (self.may_stop_inside or not self.latent)
        return Move(visible, "state" if self.latent else "token", stops)

    @abstractmethod
    def decide(self, sampled: int, state: Tensor | None) -> int:
        """Set `latent`, which makes the state the next input, and return the visible id."""


@dataclass
class Monet(Loop):
    """NOVAglow646/Monet, inference/vllm/monet_gpu_model_runner.py, `execute_model`.

    The start id itself is replaced by the state that predicted it. Ids sampled inside stay visible,
    so the scheduler ends the request at an end-of-text inside, unless the cap overwrites it.
    """

    count: int = field(default=0, init=False)

    def decide(self, sampled: int, state: Tensor | None) -> int:
        if not self.latent:
            self.latent = sampled == self.ids.start
        elif sampled == self.ids.end or self.count >= self.n_slots:
            self.latent, self.count = False, 0
            return self.ids.end
        self.count += self.latent
        return sampled


@dataclass
class LvrSteps(Loop):
    """VincentLeebang/lvr, src/model/qwen_lvr_model.py, `_lvr_deocding_by_steps`.

    A segment opens when the start id has been consumed, even as the prompt's last id. Whatever is
    sampled inside stays visible and decides nothing; neither end-of-text nor the limit stops it.
    """

    may_stop_inside = False
    left: int = field(default=0, init=False)

    def decide(self, sampled: int, state: Tensor | None) -> int:
        if self.latent:
            self.left -= 1
        elif self.last == self.ids.start:
            self.latent, self.left = True, self.n_slots
        self.latent = self.latent and self.left > 0
        return sampled


@dataclass
class LvrFree(Loop):
    """The same file's `_lvr_deocding`: open until the end id is sampled, however long it takes."""

    may_stop_inside = False

    def decide(self, sampled: int, state: Tensor | None) -> int:
        opened = self.latent or self.last == self.ids.start
        self.latent = opened and sampled != self.ids.end
        return sampled


METRICS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": lambda a, b: (a - b).square().mean(),
    "mae": lambda a, b: (a - b).abs().mean(),
    "cosine": lambda a, b: 1 - F.cosine_similarity(a, b, dim=-1),
}


@dataclass
class LvrVector(Loop):
    """The same file's `_lvr_deocding_with_latentend`.

    Judged is the state of the step before, which inside a segment is the latent just consumed; on
    entering it is the state that predicted the start id, and a match there keeps the segment shut.
    A start id that becomes visible inside sets the count back to zero.
    """

    may_stop_inside = False
    vector: Tensor | None = None
    metric: str = "mse"
    threshold: float = 0.02
    count: int = field(default=0, init=False)
    before: Tensor | None = field(default=None, init=False)

    def decide(self, sampled: int, state: Tensor | None) -> int:
        opens = self.last == self.ids.start
        self.count = 0 if opens else self.count + self.latent
        fits = self.before is not None and self.distance(self.before) < self.threshold
        self.latent = (self.latent or opens) and not fits and self.count < self.n_slots
        self.before = state
        return sampled

    def distance(self, state: Tensor) -> float:
        assert self.vector is not None
        return float(METRICS[self.metric](state.flatten(), self.vector.flatten()))


@dataclass
class Mirage(Loop):
    """UMass-Embodied-AGI/Mirage, forked transformers, generation/utils.py, `_sample`.

    `closed` and `n_ends` are never reset: after the first end of the answer, latents are no longer
    counted, and only the answer's first sampled end id can leave latent mode.
    """

    count: int = field(default=0, init=False)
    closed: bool = field(default=False, init=False)
    n_ends: int = field(default=0, init=False)
    arming: bool = field(default=False, init=False)

    def decide(self, sampled: int, state: Tensor | None) -> int:
        """Return the visible id; a start id is fed as itself wherever it is sampled."""
        inside = self.latent or self.arming
        self.latent = self.arming = False
        if sampled == self.ids.start:
            self.arming = True
            return sampled
        if sampled == self.ids.end:
            self.n_ends += 1
            self.closed = True
            self.latent = inside and self.n_ends > 1
            return sampled
        if not inside:
            return sampled
        self.count += not self.closed
        if not self.closed and self.count > self.n_slots:
            self.closed = True
            return self.ids.end
        self.latent = True
        return self.ids.pad


@dataclass
class Ilvr(Loop):
    """XD111ds/ILVR, forked transformers, generation/utils.py, `_sample`.

    Mirage's loop with its flags reset: each start id, inside too, begins a segment of its own.
    """

    count: int = field(default=0, init=False)
    inside: bool = field(default=False, init=False)

    def decide(self, sampled: int, state: Tensor | None) -> int:
        self.latent = False
        if sampled in (self.ids.start, self.ids.end):
            self.inside, self.count = sampled == self.ids.start, 0
            return sampled
        if not self.inside:
            return sampled
        self.count += 1
        self.latent = self.inside = self.count <= self.n_slots
        return self.ids.pad if self.latent else self.ids.end


@dataclass
class SkiLa(Loop):
    """TungChintao/SkiLa, src/model/skila.py, `_sample`.

    Opens once the start id has been consumed, as the prompt's last id too. Ids inside are
    overwritten by the pad, the id that leaves by the end id.
    """

    left: int = field(default=0, init=False)

    def decide(self, sampled: int, state: Tensor | None) -> int:
        ends = sampled == self.ids.end
        if self.latent:
            self.left -= 1
            ends = ends or self.left <= 0
        elif self.last == self.ids.start:
            self.latent, self.left = True, self.n_slots
        self.latent = self.latent and not ends
        if self.latent:
            return self.ids.pad
        return self.ids.end if ends else sampled


@dataclass
class SwimBird(SkiLa):
    """Accio-Lab/SwimBird, src/model/swimbird.py, `_sample`: decides as SkiLa's does."""


@dataclass
class Laser(Loop):
    """ybb6/laser, src/model/qwen_laser_model.py, `_laser_deocding` (the "dynamic" strategy).

    The first id is the start id, whatever was sampled. At the cap, and if so asked at the third
    equal id in a row, the end id is forced and after it the first id of `<answer>`.
    """

    may_stop_inside = False
    repetition_exit: bool = False
    count: int = field(default=0, init=False)
    pending: bool = field(default=False, init=False)
    last_but_one: int | None = field(default=None, init=False)

    def decide(self, sampled: int, state: Tensor | None) -> int:
        chosen = self.override(sampled)
        forced = False
        if self.latent:
            self.count += 1
            forced = self.count >= self.n_slots or self.repeats(chosen)
        elif self.last == self.ids.start:
            self.latent, self.count = True, 0
        if forced:
            chosen, self.pending = self.ids.end, self.ids.answer is not None
        self.latent = self.latent and chosen != self.ids.end
        self.last_but_one = self.last
        return chosen

    def override(self, sampled: int) -> int:
        if self.n_said == 0:
            return self.ids.start
        if self.pending:
            assert self.ids.answer is not None
            self.pending = False
            return self.ids.answer
        return sampled

    def repeats(self, chosen: int) -> bool:
        return self.repetition_exit and chosen == self.last == self.last_but_one


class Run(NamedTuple):
    """What a whole run left: visible ids, and what was fed after the prompt."""

    visible: list[int]
    fed: Tensor
    fed_is_latent: list[bool]


@torch.no_grad()
def coconut(model: Any, question: Tensor, ids: Ids, n_slots: int, limit: int) -> Run:
    """facebookresearch/coconut, coconut.py, `generate`, on a question and its latent markers.

    The limit counts what follows the end marker. The first of these ids may be end-of-text without
    ending the run; a later one ends it and is left out. Everything is recomputed at each step.
    """
    embed = model.get_input_embeddings()
    prefix = [*question.tolist(), ids.start]
    embeds = embed(torch.tensor(prefix))[None]
    for _ in range(n_slots):
        states = model(inputs_embeds=embeds, output_hidden_states=True).hidden_states[-1]
        embeds = torch.cat([embeds, states[:, -1:]], dim=1)
    embeds = torch.cat([embeds, embed(torch.tensor([[ids.end]]))], dim=1)
    said: list[int] = []
    while len(said) < limit:
        token = int(model(inputs_embeds=embeds).logits[0, -1].argmax())
        if said and token in ids.eos:
            break
        said.append(token)
        embeds = torch.cat([embeds, embed(torch.tensor([[token]]))], dim=1)
    return Run(
        [ids.start, *[ids.pad] * n_slots, ids.end, *said],
        embeds[0, len(question) :],
        [False, *[True] * n_slots, *[False] * (1 + len(said))],
    )


@torch.no_grad()
def codi(
    model: Any, project: Callable[[Tensor], Tensor], question: Tensor, ids: Ids, n_slots: int,
    limit: int,
) -> Run:  # fmt: skip
    """zhenyi4/codi, test.py, `evaluation`, as its scripts call it (remove_eos, greedy, use_prj).

    The question is followed by the start id, projected states, and the end id, which is the last id
    of the vocabulary and cut off from what may be chosen. The limit counts what follows.
    """
    embed = model.get_input_embeddings()
    fed = [embed(torch.tensor([[ids.start]]))]
    outputs = model(
        inputs_embeds=torch.cat([embed(question)[None], *fed], dim=1), output_hidden_states=True,
        use_cache=True,
    )  # fmt: skip
    for _ in range(n_slots):
        fed.append(project(outputs.hidden_states[-1][:, -1:]))
        outputs = model(
            inputs_embeds=fed[-1], past_key_values=outputs.past_key_values,
            output_hidden_states=True, use_cache=True,
        )  # fmt: skip
    said: list[int] = []
    token = ids.end
    while len(said) < limit and (not said or token not in ids.eos):
        fed.append(embed(torch.tensor([[token]])))
        outputs = model(
            inputs_embeds=fed[-1], past_key_values=outputs.past_key_values, use_cache=True
        )
        token = int(outputs.logits[0, -1, : ids.end].argmax())
        said.append(token)
    return Run(
        [ids.start, *[ids.pad] * n_slots, ids.end, *said],
        torch.cat(fed, dim=1)[0],
        [False, *[True] * n_slots, *[False] * len(said)],
    )
