"""From rows to what the model reads and is taught: ids, pixels, and which part each token is.

trl's own collator for images (`DataCollatorForVisionLanguageModeling`) knows prompts and
completions, but no parts within a completion, trains on what a template writes after the end of
turn, and renders prompts in its own way. Ours asks exactly as a reasoner does at run time, by
`encode`, and appends what the model should have said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from mindseye.errors import SampleError
from mindseye.imagination.training.data import to_sample
from mindseye.imagination.training.recipe import ANSWER_FORMATS, Recipe
from mindseye.reasoners.prompt import Prompt, encode
from mindseye.samples import Sample

__all__ = ["ANSWER", "IGNORED", "IMAGINATION", "LatentCollator", "TextCollator", "end_of_turn"]

IGNORED = -100
IMAGINATION, ANSWER = 1, 2
"""Parts of what is taught; 0 is everything that is not."""

_SENTINEL = "\ue000said\ue001"


@dataclass(frozen=True, slots=True)
class TextCollator:
    """Makes a right-padded batch of prompt, imagination (if it is in words) and answer.

    Each token belongs to the part in which it begins; the answer's runs from the line break before
    its mark to the end of turn. Where answers are given from words alone, an item makes two rows:
    one with the picture that ends with the mark, and one without it, in which the words are given
    and only the answer is taught.

    Attributes:
        processor: The model's processor, or its tokenizer if it reads text only.
        recipe: How questions are put and answers written.
        closing: What ends the model's turn.
    """

    processor: Any
    recipe: Recipe
    closing: str

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """Return ids, attention mask, labels, parts and features of a batch of rows.

        Raises:
            SampleError: A row cannot be shown to this model.
        """
        samples = [to_sample(row, self.recipe) for row in rows]
        if self.recipe.answers_from == "words":
            said = [turn for sample in samples for turn in self.two_turns(sample)]
            samples = [s for each in samples for s in (each, replace(each, images=()))]
        else:
            said = [self.completion(sample) for sample in samples]
        prompt = encode(self.processor, samples, self.recipe.prompt)
        asked = [mask.bool() for mask in prompt.attention_mask]
        ids = [
            torch.cat([row[kept], words])
            for row, kept, (words, _) in zip(prompt.input_ids, asked, said, strict=True)
        ]
        parts = [
            torch.cat([torch.zeros_like(row[kept]), part])
            for row, kept, (_, part) in zip(prompt.input_ids, asked, said, strict=True)
        ]
        labels = [row.where(part > 0, IGNORED) for row, part in zip(ids, parts, strict=True)]
        batch = {
            "input_ids": _pad(ids, _tokenizer(self.processor).pad_token_id),
            "attention_mask": _pad([torch.ones_like(row) for row in ids], 0),
            "labels": _pad(labels, IGNORED),
            "parts": _pad(parts, 0),
        }
        for name, feature in prompt.features.items():
            if feature.shape == prompt.input_ids.shape:  # one value per position: 0 is text
                rows_of = [
                    torch.cat([row[kept], row.new_zeros(len(words))])
                    for row, kept, (words, _) in zip(feature, asked, said, strict=True)
                ]
                feature = _pad(rows_of, 0)
            batch[name] = feature
        return batch

    def two_turns(self, sample: Sample) -> list[tuple[Int[Tensor, " said"], Int[Tensor, " said"]]]:
        """Return what should be said to the picture, and what without it, with the parts."""
        opening, ending, _ = ANSWER_FORMATS[self.recipe.answer_format]
        words = _plain(sample.imagination or "", sample, self.processor)
        answer = _plain(sample.answer, sample, self.processor)
        told = f"{words}\n{opening}"
        # As at run time: the words as they were told, and then the answer.
        given, _ = _tokenize(self.processor, told, answer_from=0)
        answered, parts = _tokenize(
            self.processor, f"{answer}{ending}{self.closing}", answer_from=0
        )
        return [
            _tokenize(self.processor, f"{told}{self.closing}", answer_from=len(words)),
            (torch.cat([given, answered]), torch.cat([torch.zeros_like(given), parts])),
        ]

    def completion(self, sample: Sample) -> tuple[Int[Tensor, " said"], Int[Tensor, " said"]]:
        """Return the ids of what the model should say, and the part of each."""
        opening, ending, _ = ANSWER_FORMATS[self.recipe.answer_format]
        words, gap = "", ""
        if self.recipe.imagination == "text":
            words, gap = _plain(sample.imagination or "", sample, self.processor), "\n"
        answer = _plain(sample.answer, sample, self.processor)
        return _tokenize(
            self.processor,
            f"{words}{gap}{opening}{answer}{ending}{self.closing}",
            answer_from=len(words),
        )


@dataclass(frozen=True, slots=True)
class LatentCollator:
    """Makes a left-padded batch of prompts, and beside it the answers and helper images.

    Attributes:
        processor: The model's processor.
        recipe: How questions are put and answers written.
        closing: What ends the model's turn.
    """

    processor: Any
    recipe: Recipe
    closing: str

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """Return the prompts' fields, the answers' labels, and prompts that show the helpers.

        Raises:
            SampleError: A row cannot be shown to this model, or lacks a helper image.
        """
        samples = [to_sample(row, self.recipe) for row in rows]
        prompt = encode(self.processor, samples, self.recipe.prompt)
        answers = [self.completion(sample) for sample in samples]
        batch = _fields(prompt) | {"labels": _pad(answers, IGNORED)}
        if self.recipe.latent.needs_helper:
            helped = _fields(self._with_helpers(samples))
            batch |= {f"helper_{name}": value for name, value in helped.items()}
        return batch

    def completion(self, sample: Sample) -> Int[Tensor, " said"]:
        """Return the ids of what the model should say after its latents."""
        opening, ending, _ = ANSWER_FORMATS[self.recipe.answer_format]
        answer = _plain(sample.answer, sample, self.processor)
        text = f"{opening}{answer}{ending}{self.closing}"
        return _tokenize(self.processor, text, answer_from=0)[0]

    def _with_helpers(self, samples: Sequence[Sample]) -> Prompt:
        """Return prompts that show the helper image: alone to be copied, or after the others."""
        without = [sample.id for sample in samples if sample.helper is None]
        if without:
            raise SampleError(
                f"Items {', '.join(without[:5])} have no helper image, which latents are pulled "
                "to. Leave these items out, or choose Mirage's method with copy_share 0."
            )
        alone = self.recipe.latent.method == "mirage"
        shown = [
            Sample((*(() if alone else s.images), s.helper), s.question, s.answer)
            for s in samples
            if s.helper is not None
        ]
        return encode(self.processor, shown, self.recipe.prompt)


def _fields(prompt: Prompt) -> dict[str, Tensor]:
    own = {
        "input_ids": prompt.input_ids,
        "attention_mask": prompt.attention_mask,
        "spans": prompt.labels,
    }
    return own | prompt.features


def end_of_turn(processor: Any) -> str:
    """Return what the processor's chat template writes after the model's words.

    Without a chat template it is the end-of-text token.

    Raises:
        SampleError: The template opens the model's turn in one way and closes it in another, so
            that what is trained would not be what is run.
    """
    if not getattr(processor, "chat_template", None):
        return _tokenizer(processor).eos_token
    plain = not hasattr(processor, "tokenizer")
    turns = [
        {"role": role, "content": text if plain else [{"type": "text", "text": text}]}
        for role, text in (("user", "?"), ("assistant", _SENTINEL))
    ]
    opened = processor.apply_chat_template(turns[:1], tokenize=False, add_generation_prompt=True)
    whole = processor.apply_chat_template(turns, tokenize=False)
    if not whole.startswith(opened + _SENTINEL):
        raise SampleError(
            f"The chat template opens an answer with {opened[-40:]!r}, but writes a given one as "
            f"{whole[-80:]!r}; expected the same beginning, or the model would be trained on other "
            "prompts than it is run on. Use a template that renders both alike."
        )
    # A line break after the end of turn is never generated, so it is not taught.
    return whole[len(opened) + len(_SENTINEL) :].strip() or _tokenizer(processor).eos_token


def _tokenize(
    processor: Any, text: str, *, answer_from: int
) -> tuple[Int[Tensor, " said"], Int[Tensor, " said"]]:
    """Tokenize a completion in one piece, as the model would say it, and name each token's part."""
    tokenizer = _tokenizer(processor)
    said = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    begins = torch.tensor([begin for begin, _ in said["offset_mapping"]])
    return torch.tensor(said["input_ids"]), (begins >= answer_from).long() + IMAGINATION


def _plain(text: str, sample: Sample, processor: Any) -> str:
    """Return a text without blanks around it.

    Raises:
        SampleError: It holds a special token, which would end the turn or stand for an image.
    """
    held = [token for token in _tokenizer(processor).all_special_tokens if token in text]
    if held:
        raise SampleError(
            f"Item {sample.id!r} holds the special token {held[0]!r} in its imagination or answer; "
            "expected plain text. Remove it from the item."
        )
    return text.strip()


def _pad(rows: Sequence[Int[Tensor, " _"]], filler: int) -> Int[Tensor, "batch longest"]:
    return pad_sequence(list(rows), batch_first=True, padding_value=filler)


def _tokenizer(processor: Any) -> Any:
    return getattr(processor, "tokenizer", processor)
