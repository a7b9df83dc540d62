"""Whole runs against the official decode loops, each driven by the stock model alone.

A reference is a loop of `official.py` fed by a stock model that gets one vector at a time, with its
own cache and explicit positions. Everything is in float64, so that only a true difference shows.
"""

from __future__ import annotations

import functools
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from transformers import DynamicCache

import mindseye as me
from mindseye.reasoners.maps import GatedMap
from mindseye.reasoners.protocols import EndVector
from tests.reasoners import official
from tests.reasoners.happenings import Record
from tests.reasoners.official import Ids, Loop
from tests.tiny import EOS, FIRST_WORD, MARKERS, WIDTH, Tiny, tiny

pytestmark = pytest.mark.model

START, PAD, END = MARKERS
IDS = Ids(START, PAD, END, frozenset({EOS}))
ANSWER = FIRST_WORD
N_SLOTS = 3
LIMIT = 40
FREE_SLOTS = 60
"""Where we cap LVR's free strategy, whose own loop may never return."""

EXACT = {"atol": 1e-9, "rtol": 1e-9}


def simple_head() -> nn.Module:
    mlp = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH))
    return loud(nn.Sequential(OrderedDict(ln_q=nn.LayerNorm(WIDTH), mlp=mlp)))


def gated_head() -> nn.Module:
    return loud(GatedMap(WIDTH, 64, nn.SiLU()))


@torch.no_grad()
def loud(module: nn.Module) -> nn.Module:
    """Draw weights that keep a state about as large as it was."""
    draw = torch.Generator().manual_seed(0)
    for weight in module.parameters():
        if weight.ndim == 2:
            weight.copy_(torch.randn(weight.shape, generator=draw) * 2 / weight.shape[1] ** 0.5)
    return module.double().eval()


def end_vector() -> Tensor:
    return torch.randn(WIDTH, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


@dataclass(frozen=True)
class Family:
    """One official loop beside the preset that should do the same.

    Attributes:
        preset: Its name in mindseye.
        loop: The official loop.
        events: What the runs must show, or the comparison shows too little.
        changes: Fields of the preset that are replaced.
        flags: Arguments of the official loop.
        head: Makes LVR's head, which outputs of latent slots go through.
        n_slots: Cap of a segment; the official loop without one never sees it.
    """

    preset: str
    loop: type[Loop]
    events: set[str]
    changes: dict[str, Any] = field(default_factory=dict)
    flags: dict[str, Any] = field(default_factory=dict)
    head: Callable[[], nn.Module] | None = None
    n_slots: int = N_SLOTS

    def reasoner(self, model: Any, head: nn.Module | None) -> me.Reasoner:
        mapped = {"map": "lvr_head", "map_at": "slots"} if head else {}
        chosen = me.protocol(
            self.preset,
            start=START, pad=PAD, end=END, n_slots=self.n_slots, **self.changes, **mapped,
        )  # fmt: skip
        modules: dict[str, Any] = {"lvr_head": head} if head else {}
        if chosen.end_by_vector:
            modules[chosen.end_by_vector.name] = self.flags["vector"]
        return me.wrap(model, protocol=chosen, modules=modules)

    def reference(self, last: int) -> Loop:
        ids = IDS._replace(answer=self.changes.get("after_forced_end"))
        return self.loop(ids, self.n_slots, last, LIMIT, **self.flags)


def vector_family(metric: Any, below: float, **more: Any) -> Family:
    return Family(
        "lvr_vector",
        official.LvrVector,
        LVR | {"full segment", "short segment", "start that opens nothing"},
        {"end_by_vector": EndVector("lvr_latent_end_emb", metric, below)},
        {"vector": end_vector(), "metric": metric, "threshold": below},
        **more,
    )


COMMON = {"second segment", "start inside", "end-of-text inside", "end-of-text outside"}
FORCED_END = COMMON | {"full segment", "early end", "stray end", "limit inside"}
LVR = COMMON | {"prompt opens"}

FAMILIES = {
    "monet_vllm": Family(
        "monet_vllm",
        official.Monet,
        FORCED_END | {"prompt opens nothing", "stopped by end-of-text inside"},
    ),
    "lvr_steps": Family("lvr_steps", official.LvrSteps, LVR | {"full segment", "limit inside"}),
    "lvr_steps, simple head": Family(
        "lvr_steps", official.LvrSteps, LVR | {"full segment"}, head=simple_head
    ),
    "lvr_steps, gated head": Family(
        "lvr_steps", official.LvrSteps, LVR | {"full segment"}, head=gated_head
    ),
    "lvr_free": Family(
        "lvr_free",
        official.LvrFree,
        LVR | {"early end", "stray end", "limit inside"},
        n_slots=FREE_SLOTS,
    ),
    "lvr_vector, mse": vector_family("mse", 1.8),
    "lvr_vector, mae": vector_family("mae", 1.1),
    "lvr_vector, cosine": vector_family("cosine", 0.95),
    "lvr_vector, simple head": vector_family("cosine", 0.95, head=simple_head),
    "mirage": Family(
        "mirage",
        official.Mirage,
        FORCED_END | {"prompt opens nothing", "end fed as a state", "overlong segment"},
    ),
    "ilvr": Family("ilvr", official.Ilvr, FORCED_END | {"prompt opens nothing"}),
    "skila": Family("skila", official.SkiLa, FORCED_END | {"prompt opens"}),
    "swimbird": Family("swimbird", official.SwimBird, FORCED_END | {"prompt opens"}),
    "laser": Family(
        "laser",
        official.Laser,
        FORCED_END | {"prompt opens", "forced answer"},
        {"after_forced_end": ANSWER},
    ),
    "laser, repetition exit": Family(
        "laser",
        official.Laser,
        FORCED_END | {"forced answer", "repetition exit"},
        {"after_forced_end": ANSWER, "n_repeat": 3},
        {"repetition_exit": True},
        n_slots=8,
    ),
}


class Reference(NamedTuple):
    """What the official loop made of a prompt."""

    record: Record
    fed: Tensor
    logits: Tensor


class Walk:
    """The stock model, one vector at a time."""

    def __init__(self, model: Any, inputs: dict[str, Tensor]) -> None:
        self.model = model
        self.cache = DynamicCache()
        positions, _ = model.model.get_rope_index(
            inputs["input_ids"],
            inputs["mm_token_type_ids"],
            image_grid_thw=inputs.get("image_grid_thw"),
        )
        self.furthest = positions.max()
        self.state = self._forward(position_ids=positions, **inputs)

    def feed(self, vector: Tensor) -> None:
        self.furthest = self.furthest + 1
        self.state = self._forward(
            inputs_embeds=vector[None, None], position_ids=self.furthest.expand(3, 1, 1)
        )

    def _forward(self, **inputs: Any) -> Tensor:
        outputs = self.model.model(**inputs, past_key_values=self.cache, use_cache=True)
        return outputs.last_hidden_state[0, -1]


@torch.no_grad()
def follow(
    model: Any, inputs: dict[str, Tensor], loop: Loop, head: nn.Module | None, most: int
) -> Reference:
    """Let the official loop decide what the stock model is fed, for so many steps at most."""
    walk, embed = Walk(model, inputs), model.get_input_embeddings()
    record = Record(loop.ids, loop.n_slots, loop.last, LIMIT)
    fed, logits, inside = [], [], False
    while True:
        state = head(walk.state) if head and inside else walk.state
        logits.append(model.lm_head(state))
        sampled = int(logits[-1].argmax())
        move = loop.step(sampled, state)
        inside = move.feed == "state"
        record.add(sampled, move.visible, inside, move.stops)
        if move.stops or len(logits) == most:
            return Reference(record, torch.stack([*fed, state])[:-1], torch.stack(logits))
        fed.append(state if inside else embed(torch.tensor(move.visible)))
        walk.feed(fed[-1])


@functools.cache
def speaker(seed: int) -> Tiny:
    """A tiny model with few words, that says its markers often."""
    made = tiny("qwen2_5_vl", seed, vocab=16)
    made.model.double()
    with torch.no_grad():
        head = made.model.lm_head.weight
        head[[START, END]] *= 1.5
        head[EOS] *= 0.9
    return made


def prompts(model: Tiny) -> list[dict[str, Tensor]]:
    """Prompts with no, one and two images, each with and without a start marker at its end."""
    found = []
    for n_images in range(3):
        inputs = model.inputs(n_images, n_text=2 + n_images, n_images=n_images)
        if "pixel_values" in inputs:
            inputs["pixel_values"] = inputs["pixel_values"].double()
        found += [inputs, with_start(inputs)]
    return found


def with_start(inputs: dict[str, Tensor], start: int = START) -> dict[str, Tensor]:
    added = {"input_ids": start, "attention_mask": 1, "mm_token_type_ids": 0}
    return inputs | {
        key: torch.cat([inputs[key], torch.tensor([[value]])], dim=1)
        for key, value in added.items()
        if key in inputs
    }


SEEDS = range(4)


class Comparison(NamedTuple):
    """One run of ours beside the official one."""

    trace: me.Trace
    wanted: Reference


@functools.cache
def comparisons(name: str) -> list[Comparison]:
    family = FAMILIES[name]
    head = family.head() if family.head else None
    found = []
    for model in map(speaker, SEEDS):
        reasoner = family.reasoner(model.model, head)
        for inputs in prompts(model):
            trace = reasoner.run(inputs, max_new_tokens=LIMIT)
            loop = family.reference(int(inputs["input_ids"][0, -1]))
            wanted = follow(model.model, inputs, loop, head, most=len(trace.token_ids))
            found.append(Comparison(trace, wanted))
    return found


every_family = pytest.mark.parametrize("name", FAMILIES)


@every_family
def test_a_run_is_what_the_official_loop_makes_of_the_stock_model(name: str) -> None:
    for trace, wanted in comparisons(name):
        record = wanted.record
        assert trace.token_ids.tolist() == record.visible
        assert trace.sampled_ids.tolist() == record.sampled
        assert trace.fed_is_latent.tolist() == record.states[:-1]
        torch.testing.assert_close(trace.fed, wanted.fed, **EXACT)
        torch.testing.assert_close(trace.logits, wanted.logits, **EXACT)
        assert torch.equal(trace.fed_latents, trace.fed[trace.fed_is_latent])
        assert record.stopped
        assert trace.stop == ("eos" if record.visible[-1] in record.ids.eos else "length")


@every_family
def test_the_compared_runs_hold_what_the_family_can_do(name: str) -> None:
    seen = Counter(e for _, wanted in comparisons(name) for e in wanted.record.events)
    stops = {trace.stop for trace, _ in comparisons(name)}
    assert {event for event in FAMILIES[name].events if not seen[event]} == set()
    assert stops == {"eos", "length"}


@pytest.mark.parametrize(
    ("name", "other"), [("mirage", "ilvr"), ("ilvr", "skila"), ("lvr_steps", "lvr_free")]
)
def test_the_compared_runs_would_tell_one_family_from_another(name: str, other: str) -> None:
    pairs = zip(comparisons(name), comparisons(other), strict=True)
    told = [a.trace.token_ids.tolist() != b.wanted.record.visible for a, b in pairs]
    assert sum(told) > 3


@pytest.mark.parametrize("kind", ["simple", "gated"])
def test_a_head_changes_every_latent_but_the_first(kind: str) -> None:
    compared = zip(comparisons(f"lvr_steps, {kind} head"), comparisons("lvr_steps"), strict=True)
    n_segments = 0
    for (headed, _), (plain, _) in compared:
        if not (headed.segments and plain.segments):
            continue
        ours, others = headed.segments[0].fed, plain.segments[0].fed
        if (
            len(ours) == len(others) == N_SLOTS
            and headed.segments[0].slots == plain.segments[0].slots
        ):
            n_segments += 1
            torch.testing.assert_close(ours[0], others[0], **EXACT)
            assert ((ours[1:] - others[1:]).abs().amax(dim=-1) > 0.1).all()
    assert n_segments > 5


N_THOUGHTS = 4
N_WORDS = 24


@functools.cache
def thinker(seed: int) -> Tiny:
    """A tiny text model in double precision."""
    made = tiny("gpt2", seed, vocab=20)
    made.model.double()
    return made


@pytest.mark.parametrize("opened", [False, True])
def test_a_coconut_run_is_the_official_one(opened: bool) -> None:
    """Ours ends at any end-of-text and shows it; theirs leaves it out, and passes the first."""
    stops = Counter[str]()
    chosen = me.protocol("coconut", start=START, pad=PAD, end=END, n_slots=N_THOUGHTS)
    for model in map(thinker, SEEDS):
        reasoner = me.wrap(model.model, protocol=chosen)
        for seed in range(5):
            inputs = model.inputs(seed)
            wanted = official.coconut(model.model, inputs["input_ids"][0], IDS, N_THOUGHTS, N_WORDS)
            trace = run_after(reasoner, inputs, opened)
            n_said = len(trace.token_ids) - (trace.stop == "eos")
            passes = wanted.visible[N_THOUGHTS + 2] == EOS
            assert_same(trace, wanted, opened, n_said)
            assert opened + n_said == len(wanted.visible) or passes
            stops["passes" if passes else trace.stop] += 1
    assert min(stops[stop] for stop in ("eos", "length", "passes")) > 0


@pytest.mark.parametrize("opened", [False, True])
def test_a_codi_run_is_the_official_one(opened: bool) -> None:
    """Also where the model would say the end of thought, which neither loop lets it."""
    stops = Counter[str]()
    project = projection()
    for model in map(thinker, SEEDS):
        ids = Ids(model.vocab - 2, model.vocab - 3, model.vocab - 1, frozenset({EOS}))
        chosen = me.protocol("codi", n_slots=N_THOUGHTS)
        reasoner = me.wrap(model.model, protocol=chosen, modules={"prj": project})
        for seed in range(5):
            inputs = model.inputs(seed)
            wanted = official.codi(
                model.model, project, inputs["input_ids"][0], ids, N_THOUGHTS, N_WORDS
            )
            trace = run_after(reasoner, inputs, opened)
            assert_same(trace, wanted, opened, len(trace.token_ids))
            assert opened + len(trace.token_ids) == len(wanted.visible)
            stops[trace.stop] += 1
            spoken = trace.logits[trace.fed_is_latent.nonzero().max() + 2 :]
            stops["kept from its end"] += int((spoken.argmax(dim=-1) == ids.end).any())
    assert min(stops[stop] for stop in ("eos", "length", "kept from its end")) > 0


def projection() -> nn.Module:
    """CODI's, without the dropout at its beginning."""
    return loud(
        nn.Sequential(
            nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH), nn.LayerNorm(WIDTH)
        )
    )


def run_after(reasoner: me.Reasoner, inputs: dict[str, Tensor], opened: bool) -> me.Trace:
    """Run on a question, whose start marker is part of the prompt or else forced."""
    assert isinstance(reasoner.tokens.start, int)
    limit = N_THOUGHTS + 2 + N_WORDS - opened
    asked = with_start(inputs, reasoner.tokens.start) if opened else inputs
    return reasoner.run(asked, max_new_tokens=limit)


def assert_same(trace: me.Trace, wanted: official.Run, opened: bool, n_said: int) -> None:
    """Compare the first ids of a run; the start marker, theirs to say, may end our prompt."""
    assert trace.token_ids[:n_said].tolist() == wanted.visible[opened:][:n_said]
    n_fed = len(trace.fed)
    assert n_fed == len(trace.token_ids) - 1
    assert trace.fed_is_latent.tolist() == wanted.fed_is_latent[opened:][:n_fed]
    torch.testing.assert_close(trace.fed, wanted.fed[opened:][:n_fed], **EXACT)
