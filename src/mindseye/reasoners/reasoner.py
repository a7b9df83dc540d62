"""The thing that runs a sample: a stock model, its processor and its latent protocol."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, overload

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mindseye.errors import EditError, EngineError, ModelError, ProtocolError, SampleError
from mindseye.reasoners.architectures import Architecture
from mindseye.reasoners.blending import Blend
from mindseye.reasoners.choosing import Chooser, Sampling
from mindseye.reasoners.decoding import Decoding
from mindseye.reasoners.edits import Branches
from mindseye.reasoners.generation import Feedback, Row, generate
from mindseye.reasoners.hooks import Edit, hooked
from mindseye.reasoners.inspection import LoadReport
from mindseye.reasoners.prepared import PREPARED, as_prompt
from mindseye.reasoners.prompt import Prompt, encode, join
from mindseye.reasoners.protocols import LatentProtocol, LatentTokens
from mindseye.reasoners.records import Asked, trace_of
from mindseye.reasoners.shared import SharedStream
from mindseye.reasoners.spans import SPANS
from mindseye.reasoners.stream import Stream
from mindseye.reasoners.trace import Replay, Settings, Trace
from mindseye.reasoners.wiring import Cut, Knockout, asking, check_cuts
from mindseye.samples import Sample

__all__ = ["Reasoner"]

Inputs = Sample | Mapping[str, Any]
"""A sample, or what the stock forward takes, prepared elsewhere: `input_ids` of shape (1, seq) and,
with images, `pixel_values` and the like."""


@dataclass(frozen=True, slots=True, eq=False)
class Reasoner:
    """A model that imagines, ready to run.

    Attributes:
        name: What it was loaded as.
        model: The stock transformers model.
        processor: Its processor, or its tokenizer if it reads text only; none if it runs on
            prepared inputs.
        architecture: Where the model's parts are.
        protocol: How it emits latents.
        tokens: The protocol's markers as ids of this tokenizer.
        eos: Ids that end a run.
        modules: Extra weights that the protocol names, such as an LVR head.
        wiring: Attention edges that do not exist in this model.
        report: How loading went.
        blend: A second route that edited runs answer from as well, in models made for tests.
    """

    name: str
    model: Any
    processor: Any
    architecture: Architecture
    protocol: LatentProtocol
    tokens: LatentTokens
    eos: frozenset[int]
    modules: Mapping[str, nn.Module | Tensor] = field(default_factory=dict)
    wiring: tuple[Knockout, ...] = ()
    report: LoadReport | None = None
    blend: Blend | None = None

    def run(
        self,
        inputs: Inputs,
        *,
        max_new_tokens: int = 64,
        imagine: bool = True,
        force_start: bool = False,
        saying: Sequence[int] = (),
        sampling: Sampling | None = None,
        generator: torch.Generator | None = None,
        cache: Sequence[str] = (),
        past_key_values: bool = False,
    ) -> Trace:
        """Run a sample and return everything it left.

        Args:
            inputs: What to ask.
            max_new_tokens: Most tokens to generate, latents included.
            imagine: Whether segments may open; without it the run is ordinary text.
            force_start: Whether the first token is a start marker, whatever the model would say.
                The trace records it.
            saying: Ids that are said first, whatever the model would say: do(Z) on words. What it
                would have said stands in the trace's `sampled_ids`.
            sampling: How to draw tokens; greedily if left out.
            generator: Where a draw's seed comes from; needed with `sampling`.
            cache: Hook names or patterns to compute at once, instead of when first looked at.
            past_key_values: Whether the trace keeps keys and values, from which edited runs of it
                start without computing its prompt again.

        Raises:
            SampleError: The sample cannot be read, or is drawn from without a generator.
            ProtocolError: A start is to be forced where the protocol has no start marker, or words
                where latents are none; or imagination in words is wired.
            EditError: `cache` names a hook that the model does not have.
        """
        trace = self.run_batch(
            [inputs],
            max_new_tokens=max_new_tokens,
            imagine=imagine,
            force_start=force_start,
            saying=[saying] if saying else (),
            sampling=sampling,
            generator=generator,
            past_key_values=past_key_values,
        )[0]
        if cache:
            trace.cache.fetch(*cache)
        return trace

    def run_batch(
        self,
        inputs: Sequence[Inputs],
        *,
        max_new_tokens: int = 64,
        imagine: bool = True,
        force_start: bool = False,
        saying: Sequence[Sequence[int]] = (),
        sampling: Sampling | None = None,
        generator: torch.Generator | None = None,
        past_key_values: bool = False,
    ) -> list[Trace]:
        """Run several samples as one left-padded batch; each row is what it would be alone.

        Args are those of `run`, but `saying` has one list per input. Rows draw with generators of
        their own, seeded from `generator` in order, so that a batch draws what single runs in the
        same order would.

        Raises:
            SampleError: A sample cannot be read, or the rows make no batch.
        """
        if not inputs:
            return []
        if force_start and not imagine:
            raise ProtocolError(
                "force_start was given together with imagine=False, which lets no segment open. "
                "Leave one of them out."
            )
        if force_start and self.tokens.start is None:
            raise ProtocolError(
                f"force_start was given, but protocol {self.protocol.name!r} has no start marker. "
                "Leave it out, or use another protocol."
            )
        if saying and not self.protocol.in_words:
            raise ProtocolError(
                f"saying was given, but the latents of protocol {self.protocol.name!r} are no "
                "words. Leave it out, or load the model with protocol='text'."
            )
        if self.wiring and self.protocol.in_words and imagine:
            raise ProtocolError(
                f"{self.name!r} imagines in words and has attention edges cut between spans, but "
                "which words are the mark that ends them shows only afterwards. Cut edges in a "
                "replay, or load it without wiring."
            )
        asked: list[Asked] = []
        for given, words in zip(inputs, saying or [()] * len(inputs), strict=True):
            drawn = _seed(sampling, generator)
            settings = Settings(max_new_tokens, imagine, force_start, sampling, drawn, tuple(words))
            sample = given if isinstance(given, Sample) else PREPARED
            asked.append((sample, self._prompt(given), settings))
        if self.protocol.answers_from == "words" and imagine:
            return self._answer_from_words(asked, keep=past_key_values)
        return self._generate(asked, keep=past_key_values)

    @overload
    def replay(
        self,
        trace: Trace,
        branches: Sequence[Sequence[Edit]] = ...,
        *,
        mode: Literal["open_loop"] = ...,
        record: Sequence[str] = ...,
        knockouts: Sequence[Cut] = ...,
    ) -> Replay: ...

    @overload
    def replay(
        self,
        trace: Trace,
        branches: Sequence[Sequence[Edit]] = ...,
        *,
        mode: Literal["closed_loop"],
        knockouts: Sequence[Cut] = ...,
    ) -> list[Trace]: ...

    @torch.no_grad()
    def replay(
        self,
        trace: Trace,
        branches: Sequence[Sequence[Edit]] = ((),),
        *,
        mode: Literal["open_loop", "closed_loop"] = "open_loop",
        record: Sequence[str] = (),
        knockouts: Sequence[Cut] = (),
    ) -> Replay | list[Trace]:
        """Recompute a run with edits.

        Open loop pins every fed vector and takes one forward pass: an edit of a latent is a direct
        effect, with the later latents as they were. Closed loop decodes again from the prompt as it
        was fed, so that later latents and words react, and returns a trace per branch; edits at
        positions that a new run does not reach change nothing. Its branches share the keys and
        values of the prompt, as far as no edit reaches; a trace that kept them
        (`run(..., past_key_values=True)`) has nothing to compute there.

        Args:
            trace: The run to recompute.
            branches: Sets of edits, one row of the result each; an empty set changes nothing.
            mode: `open_loop` or `closed_loop`.
            record: Hook names to keep, from all branches (open loop; a trace has its own cache).
            knockouts: Attention edges to cut on top of the model's wiring.

        Raises:
            EditError: A hook or position that the run does not have, or a value of another shape.
            EngineError: An edited run, or a closed loop, of a model with two routes.
        """
        if not branches:
            raise EditError("replay got no branches; pass [[]] to recompute the run as it was.")
        rows = Branches(branches, record)
        rows.check(len(trace.labels))
        check_cuts(knockouts, len(trace.labels), len(self.architecture.blocks(self.model)))
        if self.blend is not None and (mode == "closed_loop" or knockouts or any(branches)):
            raise EngineError(
                f"{self.name!r} answers from two routes, of which a replay knows one. Compute its "
                "edited runs with mindseye.engine.compute."
            )
        if mode == "closed_loop":
            return self._decode_again(trace, rows, tuple(knockouts))
        return self._recompute(trace, rows, (*self.wiring, *knockouts))

    def embed(self, ids: Int[Tensor, "*dims"]) -> Float[Tensor, "*dims d_model"]:
        """Return the input embeddings of token ids."""
        return self.model.get_input_embeddings()(ids)

    def unembed(self, states: Float[Tensor, "*dims d_model"]) -> Float[Tensor, "*dims vocab"]:
        """Return the logits that post-norm states are read as."""
        return self.model.get_output_embeddings()(states)

    def feedback(self) -> Feedback:
        """Return how states become what is fed back and what tokens are read from."""
        module = self.modules[self.protocol.map] if self.protocol.map else None
        return Feedback(self.protocol, module if callable(module) else None, self.unembed)

    @property
    def tokenizer(self) -> Any:
        """The processor's tokenizer; none without a processor."""
        return getattr(self.processor, "tokenizer", self.processor)

    def read(self, ids: Sequence[int], *, special: bool = True) -> str:
        """Return token ids as text.

        Args:
            ids: What to decode.
            special: Whether special tokens are shown.

        Raises:
            ModelError: There is no tokenizer.
        """
        if self.tokenizer is None:
            raise ModelError(
                f"{self.name!r} was wrapped without a processor, so ids cannot be read as text. "
                "Pass wrap(..., processor=...)."
            )
        return self.tokenizer.decode(list(ids), skip_special_tokens=not special)

    def nnsight(self) -> Any:
        """Return an nnsight model around the same weights."""
        from mindseye.reasoners.interop import as_nnsight

        return as_nnsight(self)

    def transformer_lens(self) -> Any:
        """Return a TransformerLens bridge around the same weights."""
        from mindseye.reasoners.interop import as_transformer_lens

        return as_transformer_lens(self)

    def _prompt(self, given: Inputs) -> Prompt:
        if not isinstance(given, Sample):
            image_id = getattr(self.model.config, "image_token_id", None)
            return as_prompt(given, image_id).to(self.model.device)
        if self.processor is None:
            raise ModelError(
                f"{self.name!r} was wrapped without a processor, so it cannot read a sample. Pass "
                "wrap(..., processor=...), or run it on prepared inputs."
            )
        return encode(self.processor, [given], self.protocol.prompt).to(self.model.device)

    def _answer_from_words(self, asked: Sequence[Asked], *, keep: bool) -> list[Trace]:
        """Have pictures described, unless the words are given, and answer without them.

        Raises:
            SampleError: Prepared inputs, whose picture cannot be taken away.
        """
        if any(sample is PREPARED for sample, _, _ in asked):
            raise SampleError(
                f"Protocol {self.protocol.name!r} answers without the picture, which cannot be "
                "taken out of prepared inputs. Run it on samples."
            )
        told: list[Trace | None] = [None] * len(asked)
        silent = [i for i, (_, _, settings) in enumerate(asked) if not settings.saying]
        if silent:
            written = self._generate([asked[i] for i in silent], until_answer=True)
            for i, one in zip(silent, written, strict=True):
                told[i] = one
        blind = [
            (
                sample,
                self._prompt(dataclasses.replace(sample, images=())),
                settings if one is None else dataclasses.replace(settings, saying=_said(one)),
            )
            for one, (sample, _, settings) in zip(told, asked, strict=True)
        ]
        return [
            dataclasses.replace(trace, description=one)
            for one, trace in zip(told, self._generate(blind, keep=keep), strict=True)
        ]

    @torch.no_grad()
    def _generate(
        self, asked: Sequence[Asked], *, keep: bool = False, until_answer: bool = False
    ) -> list[Trace]:
        """Run prompts as one batch."""
        rows = [self._row(prompt, settings, until_answer) for _, prompt, settings in asked]
        prompts = [
            _opened(prompt) if row.decoding.opened_by_prompt else prompt
            for row, (_, prompt, _) in zip(rows, asked, strict=True)
        ]
        stream = Stream.open(
            self.model, self.architecture, join(prompts), self.wiring, source=self._source()
        )
        generate(stream, rows, self.feedback(), self.embed, asked[0][2].max_new_tokens)
        return [
            trace_of(self, (sample, prompt, settings), row, index, stream, keep=keep)
            for index, (row, prompt, (sample, _, settings)) in enumerate(
                zip(rows, prompts, asked, strict=True)
            )
        ]

    def _decode_again(
        self, trace: Trace, branches: Branches, knockouts: tuple[Cut, ...]
    ) -> list[Trace]:
        """Decode a run again under edits; rows share what no edit can reach."""
        touched = [edit.positions for row in branches.rows for edit in row]
        touched += [asking(trace.labels, cut) for cut in knockouts]
        places = [int(each.min()) for each in touched if len(each)]
        start = min([trace.n_prompt - 1, *(trace.reached_from(place) for place in places)])
        cuts, source, n_rows = (*self.wiring, *knockouts), self._source(), len(branches.rows)
        stream = SharedStream.branch(trace, n_rows, start, cuts, branches.visits, source)
        if stream is None:  # the attention cannot be intercepted: every row has a copy
            stream = Stream.open(
                self.model,
                self.architecture,
                join([trace.prompt] * n_rows),
                cuts,
                branches.visits,
                source,
                prefill=trace.prefill().part(0, trace.n_prompt).repeat(n_rows),
            )
        rows = [self._row(trace.prompt, trace.settings) for _ in branches.rows]
        generate(stream, rows, self.feedback(), self.embed, trace.settings.max_new_tokens)
        asked = (trace.sample, trace.prompt, trace.settings)
        return [trace_of(self, asked, row, index, stream) for index, row in enumerate(rows)]

    def _source(self) -> str | None:
        return self.protocol.source_hook(len(self.architecture.blocks(self.model)))

    def _row(self, prompt: Prompt, settings: Settings, until_answer: bool = False) -> Row:
        ids = prompt.input_ids[0].tolist()
        end_vector = self.protocol.end_by_vector
        vector = self.modules[end_vector.name] if end_vector else None
        decoding = Decoding(
            self.protocol,
            self.tokens,
            self.eos,
            last_prompt_id=ids[-1],
            force_start=settings.force_start,
            saying=settings.saying,
            until_answer=until_answer,
            imagine=settings.imagine,
            end_vector=vector if isinstance(vector, Tensor) else None,
            read=self.read if self.protocol.in_words else None,
        )
        banned = () if settings.imagine else self.tokens.openers
        if settings.imagine and self.protocol.bans_end and self.tokens.end is not None:
            banned = (self.tokens.end,)
        return Row(decoding, Chooser(settings.sampling, settings.seed, banned), ids)

    def _recompute(self, trace: Trace, rows: Branches, wiring: tuple[Cut, ...]) -> Replay:
        n_rows, n_seq = len(rows.rows), len(trace.labels)
        many = trace.prefill().repeat(n_rows)
        labels = trace.labels.expand(n_rows, -1)
        bias = self.architecture.mask(
            self.model, labels, many.image_mask, n_seq, wiring, trace.embeds.dtype
        )
        with hooked(self.model, self.architecture, rows.visits(0, n_seq)):
            states = self.architecture.decode(self.model, many, bias)
        slots = trace.labels == SPANS.index("latents")
        settled = self.feedback().settle(states, slots.expand(n_rows, -1))
        return Replay(states, self.unembed(settled[:, trace.n_prompt - 1 :]), rows.kept)


def _seed(sampling: Sampling | None, generator: torch.Generator | None) -> int | None:
    """Draw the seed of one run."""
    if sampling is None:
        return None
    if generator is None:
        raise SampleError(
            "run(sampling=...) draws tokens but was given no generator. Pass "
            "generator=torch.Generator().manual_seed(0), so that the draw can be repeated."
        )
    return int(torch.randint(2**62, (1,), generator=generator))


def _said(trace: Trace) -> tuple[int, ...]:
    """Return all that a run said."""
    return tuple(trace.token_ids.tolist())


def _opened(prompt: Prompt) -> Prompt:
    """Label the start marker that ends a prompt as what it is."""
    labels = prompt.labels.clone()
    labels[0, -1] = SPANS.index("start")
    return dataclasses.replace(prompt, labels=labels)
