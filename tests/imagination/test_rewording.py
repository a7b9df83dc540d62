"""Words said otherwise: by the digits world, which knows its scenes, and by a model."""

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mindseye as me
from mindseye.errors import ModelError, SampleError
from mindseye.imagination import rewording
from mindseye.imagination.building import Endpoint
from mindseye.imagination.building.asking import Asker, Reply, Unanswered
from mindseye.imagination.rewording import Rewords
from mindseye.interventions.replacements import Given, find_replacement
from mindseye.tasks.digits import COLOURS, KINDS, Digits
from tests.imagination.building.conftest import no_proxy, short_waits
from tests.imagination.building.serving import serving
from tests.speaking import MARK, hasty, ids_of, reader, speaker, stock

__all__ = ["no_proxy", "short_waits"]

EDITS = ("paraphrase", "attribute", "adversarial")

# The digits world ---------------------------------------------------------------------------------


def facts(words):
    """What words tell, by what it is told of, whatever the order; nothing may be left over."""
    seen = dict(re.findall(r"((?:top|bottom) (?:left|right)) (\d)", words))
    if seen:
        assert re.fullmatch(r"After the [\w ]+ I see: (?:[a-z ]+ \d(?:, |\.$)){4}", words), words
        return seen
    (colour,), (digit,) = (re.findall(p, words) for p in (r"the (\w+) cell\.", r"shows a (\d)\."))
    assert sorted(words.split()) == sorted(
        f"I look closely at the {colour} cell. It shows a {digit}.".split()
    )
    return {"colour": colour, "digit": digit}


def asked_for(sample):
    """Which of the facts the question is about."""
    if sample.kind == "transform":
        return re.search(r"at the ([a-z ]+)\?", sample.question)[1]
    return "colour" if sample.kind in ("colour_of", "colour_at") else "digit"


@st.composite
def scenes(draw):
    size = draw(st.sampled_from([1, 2]))
    kinds = KINDS if size == 2 else ("zoom", "colour_of")
    world = Digits(size, kinds=(draw(st.sampled_from(kinds)),))
    split = draw(st.sampled_from(["train", "test"]))
    n = draw(st.integers(1, 6))
    return world, world.samples(n, split=split, seed=draw(st.integers(0, 99)))[-1]


def reworded(scene, edit, seed):
    world, sample = scene
    return world.reword(sample, edit, rng=np.random.default_rng(seed))


seeds = st.integers(0, 1000)


@given(scenes(), seeds)
def test_a_paraphrase_says_every_fact_and_nothing_else_in_another_order(scene, seed):
    sample = scene[1]
    words = reworded(scene, "paraphrase", seed)
    assert words != sample.imagination
    assert facts(words) == facts(sample.imagination)
    assert facts(words)[asked_for(sample)] == sample.answer


@given(scenes(), seeds)
def test_another_attribute_is_one_fact_that_was_not_asked_for(scene, seed):
    sample = scene[1]
    before, after = facts(sample.imagination), facts(reworded(scene, "attribute", seed))
    assert before.keys() == after.keys()
    changed = [name for name in before if before[name] != after[name]]
    assert len(changed) == 1
    assert asked_for(sample) not in changed
    assert after[changed[0]] not in before.values()


@given(scenes(), seeds)
def test_a_contradiction_is_the_one_fact_that_was_asked_for(scene, seed):
    sample = scene[1]
    before, after = facts(sample.imagination), facts(reworded(scene, "contradiction", seed))
    changed = [name for name in before if before[name] != after[name]]
    assert changed == [asked_for(sample)]
    assert after[changed[0]] != sample.answer
    shown = sample.meta["colours"] if "colour" in sample.kind else sample.meta["digits"]
    assert after[changed[0]] not in map(str, shown)
    assert after[changed[0]] in (*COLOURS, *"0123456789")


@given(scenes(), seeds, st.sampled_from(["paraphrase", "attribute", "contradiction"]))
def test_equal_draws_say_the_same_and_the_sample_stays_as_it_is(scene, seed, edit):
    held = scene[1].imagination
    assert reworded(scene, edit, seed) == reworded(scene, edit, seed)
    assert scene[1].imagination == held


@pytest.mark.parametrize("kind", ["zoom", "transform"])
@pytest.mark.parametrize("edit", ["attribute", "contradiction"])
def test_draws_differ_and_reach_all_there_is_to_say(kind, edit):
    world = Digits(kinds=(kind,))
    sample = world.samples(1)[0]
    said = {reworded((world, sample), edit, seed) for seed in range(300)}
    n = {("zoom", "attribute"): 2, ("transform", "attribute"): 18}.get((kind, edit), 6)
    assert len(said) == n


def test_both_sides_of_a_pair_are_reworded_as_they_are():
    world = Digits()
    for pair in world.pairs(6):
        for side in (pair.clean, pair.reference):
            assert facts(reworded((world, side), "paraphrase", 0)) == facts(side.imagination)


def test_a_redrawn_scene_is_reworded_as_it_now_is():
    world, rng = Digits(kinds=("zoom",)), np.random.default_rng(0)
    sample = world.samples(1)[0]
    for attribute in ("digit", "colour", "position"):
        changed = world.redraw(sample, attribute, rng=rng)
        assert facts(reworded((world, changed), "paraphrase", 0)) == facts(changed.imagination)


def test_another_edit_or_another_world_is_refused():
    world, rng = Digits(), np.random.default_rng(0)
    sample = world.samples(1)[0]
    with pytest.raises(SampleError, match="paraphrase, attribute and contradiction"):
        world.reword(sample, "negation", rng=rng)
    with pytest.raises(SampleError, match=r"none of the digits world of size 1"):
        Digits(1, kinds=("zoom",)).reword(sample, "paraphrase", rng=rng)
    with pytest.raises(SampleError, match="its scene is not known"):
        world.reword(me.Sample((), "Which?", "7", id="elsewhere"), "paraphrase", rng=rng)
    assert isinstance(world, Rewords)


# The replacements ---------------------------------------------------------------------------------


class Stub:
    """Says what it is told to say, and remembers what it was asked."""

    name = "stub"

    def __init__(self, *replies):
        self.replies, self.asked = list(replies), []

    def ask(self, request):
        self.asked.append(request)
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply if isinstance(reply, Reply) else Reply(reply)


@pytest.fixture(scope="module")
def ours(folder):
    return speaker(hasty(reader(folder)))


@pytest.fixture(scope="module")
def pairs():
    return Digits(kinds=("zoom",)).pairs(2, seed=1)


@pytest.fixture(scope="module")
def spoken(ours, pairs):
    return Given(ours.run(pairs[0].clean, max_new_tokens=30))


def said(asked, given, **told):
    made = find_replacement(asked, **told)(given)
    return given.trace.reasoner.read(made.words)


model = pytest.mark.model


@model
@pytest.mark.parametrize(
    ("name", "edit"),
    [("paraphrase", "paraphrase"), ("attribute", "attribute"), ("adversarial", "contradiction")],
)
def test_a_task_rewords_its_own_samples_unasked(spoken, name, edit):
    own = spoken.trace.sample.imagination
    before, after = facts(own), facts(said(name, spoken))
    changed = [fact for fact in before if before[fact] != after[fact]]
    assert changed == {"paraphrase": [], "attribute": ["colour"], "contradiction": ["digit"]}[edit]
    assert said(name, spoken) == said(name, spoken, by=Digits())
    assert said(name, spoken) == said(name, spoken)
    drawn = {said(name, spoken, seed=seed) for seed in range(30)}
    assert len(drawn) == {"paraphrase": 1, "attribute": 2, "contradiction": 6}[edit]


@model
@pytest.mark.parametrize("name", EDITS)
def test_a_model_that_is_asked_gets_question_and_words_and_its_reply_is_said(spoken, name):
    stub = Stub("<think>hm</think> It is a 4. ")
    assert isinstance(stub, Asker)
    assert said(name, spoken, by=stub) == "It is a 4."
    (request,) = stub.asked
    sample = spoken.trace.sample
    assert sample.question in request.text
    assert sample.imagination in request.text
    assert "$" not in request.text
    assert request.images == ()
    assert (f"Right answer:\n\n{sample.answer}" in request.text) == (name == "adversarial")


@model
def test_the_prompts_of_the_three_edits_differ(spoken):
    stub = Stub(*["Else."] * 3)
    for name in EDITS:
        said(name, spoken, by=stub)
    assert len({request.text for request in stub.asked}) == 3


@model
def test_what_a_run_said_is_reworded_and_not_what_it_should_have_said(ours, pairs):
    run = speaker(ours, lambda sample: f"I look closely. It shows a 3.{MARK}").run(
        pairs[0].clean, max_new_tokens=20
    )
    stub = Stub("Else.")
    said("adversarial", Given(run), by=stub)
    assert "\n\nI look closely. It shows a 3.\n\n" in stub.asked[0].text
    assert pairs[0].clean.imagination not in stub.asked[0].text


@model
@pytest.mark.parametrize("odd", ["$words", "costs $5 or ${answer}", "$$", "50% {braces} \\n %s"])
def test_signs_that_a_template_knows_are_plain_text_in_a_question(spoken, odd):
    sample = replace(spoken.trace.sample, question=f"Which {odd}?", answer=odd)
    stub = Stub(f"It is {odd} a 4.")
    given = Given(replace(spoken.trace, sample=sample))
    assert said("adversarial", given, by=stub) == f"It is {odd} a 4."
    (request,) = stub.asked
    assert f"\n\nWhich {odd}?\n\n" in request.text
    assert f"Right answer:\n\n{odd}\n" in request.text


@model
def test_the_same_words_are_asked_for_once(spoken):
    stub = Stub("It is a 4.")
    assert said("adversarial", spoken, by=stub) == said("adversarial", spoken, by=stub)
    assert len(stub.asked) == 1


@model
@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (Reply("It is", finish="length"), "no usable reply came: cut off"),
        (Reply("", finish="refusal"), "no usable reply came: refusal"),
        ("I'm sorry, but I can't.", "no usable reply came: refusal"),
        ("  ", "no usable reply came: empty reply"),
        ("...", "no usable reply came: no word"),
        (Unanswered("timeout"), "no usable reply came: timeout"),
        ("OWN", "came back as they were"),
        (" OWN\n", "came back as they were"),
    ],
)
def test_a_reply_of_no_use_is_named_with_its_sample(spoken, reply, message):
    own = spoken.trace.sample.imagination
    reply = reply.replace("OWN", own) if isinstance(reply, str) else reply
    with pytest.raises(SampleError, match=rf"{spoken.id}.*\(adversarial\).*{message}"):
        said("adversarial", spoken, by=Stub(reply))


@model
def test_a_reply_of_no_use_is_asked_for_again_the_next_time(spoken):
    stub = Stub("...", "It is a 4.")
    with pytest.raises(SampleError):
        said("adversarial", spoken, by=stub)
    assert said("adversarial", spoken, by=stub) == "It is a 4."


@model
def test_whoever_cannot_reword_is_refused(spoken):
    with pytest.raises(SampleError, match=r"str cannot reword sample.*Pass by="):
        said("adversarial", spoken, by="me")
    stray = Given(replace(spoken.trace, sample=replace(spoken.trace.sample, id="mine/3")))
    with pytest.raises(SampleError, match="begins with no task's name"):
        said("adversarial", stray)


# A server -----------------------------------------------------------------------------------------


@model
def test_a_server_is_named_on_one_line(spoken):
    rewording._server.cache_clear()
    with serving(lambda text, n: "It is a 4.") as served:
        assert said(f"adversarial:url={served.url},model=m", spoken) == "It is a 4."
        assert said("adversarial", spoken, url=served.url, model="m") == "It is a 4."
    (body,) = served.bodies
    assert body["model"] == "m"
    assert spoken.trace.sample.imagination in served.asked[0]


@model
@pytest.mark.usefixtures("short_waits")
@pytest.mark.parametrize(
    ("behaviour", "reason"), [(1.0, "timeout"), (500, "status 500"), (400, "status 400")]
)
def test_a_server_that_does_not_answer_costs_the_sample(spoken, behaviour, reason):
    with serving(lambda text, n: behaviour) as served:
        by = Endpoint("m", served.url, timeout=0.15, max_retries=1)
        with pytest.raises(SampleError, match=f"no usable reply came: {reason}"):
            said("paraphrase", spoken, by=by)


@model
def test_a_server_that_serves_nobody_stops_everything(ours, pairs):
    with serving(lambda text, n: 404) as served:
        arm = find_replacement("adversarial", by=Endpoint("m", served.url))
        with pytest.raises(ModelError, match="does not serve 'm'"):
            me.battery(ours, pairs, [arm], levels=["embedding"])
    assert len(served.asked) == 1


# In an experiment ---------------------------------------------------------------------------------


@model
def test_a_pair_without_a_usable_reply_has_no_row(ours, pairs):
    lost = pairs[0].clean.imagination
    with serving(lambda text, n: "I cannot help." if lost in text else "It is a 4.") as served:
        arm = find_replacement("adversarial", by=Endpoint("m", served.url))
        rows = me.battery(ours, pairs, ["filler", arm], levels=["embedding"])
    arms = rows.groupby("pair")["arm"].agg(set)
    assert arms[pairs[0].id] == {"filler"}
    assert arms[pairs[1].id] == {"filler", "adversarial"}
    (row,) = rows[rows["arm"] == "adversarial"].to_dict("records")
    logits = stock(ours, pairs[1].clean, ids_of(ours, f"It is a 4.{MARK}"))[-1]
    clean, other = (ids_of(ours, answer)[0] for answer in pairs[1].answers)
    assert row["value"] == pytest.approx((logits[clean] - logits[other]).item(), abs=1e-9)


@model
def test_an_arm_that_nobody_has_words_for_is_refused(ours, pairs):
    arm = find_replacement("adversarial", by=Stub("...", "..."))
    with pytest.raises(SampleError, match=r"applied to no pair.*no word in the reply"):
        me.battery(ours, pairs, ["filler", arm], levels=["embedding"])


@model
def test_adversarial_words_of_the_task_through_a_battery(ours, pairs):
    """Both loops put the same words in, and they contradict what was asked for."""
    opened, closed = (
        me.battery(ours, pairs, ["adversarial"], levels=["embedding"], loop=loop)
        for loop in ("open", "closed")
    )
    assert opened["value"].tolist() == pytest.approx(closed["value"].tolist(), abs=1e-9)
    assert (opened["effect"].abs() > 1e-3).all()
    for pair, value in zip(pairs, opened["value"], strict=True):
        before = facts(pair.clean.imagination)
        texts = [
            f"I look closely at the {before['colour']} cell. It shows a {digit}."
            for digit in set(range(10)) - set(pair.clean.meta["digits"])
        ]
        clean, other = (ids_of(ours, answer)[0] for answer in pair.answers)
        values = [
            (logits[clean] - logits[other]).item()
            for text in texts
            for logits in [stock(ours, pair.clean, ids_of(ours, f"{text}{MARK}"))[-1]]
        ]
        assert min(abs(value - each) for each in values) < 1e-9


@model
def test_whoever_asks_need_not_be_hashable(spoken):
    class Plain(Stub):
        __hash__ = None

    assert said("adversarial", spoken, by=Plain("It is a 4.")) == "It is a 4."
