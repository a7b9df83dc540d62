"""Imagination in words on the command line: `mindseye capimagine`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

__all__ = ["capimagine"]

capimagine = typer.Typer(help="Imagination in words: build its data, train on it.")


@capimagine.command()
def build(
    data: Annotated[str, typer.Argument(help="Records (JSON, JSON lines, a folder), or digits:N.")],
    out: Annotated[Path, typer.Option(help="Folder; a build that stopped there goes on.")],
    captioner: Annotated[
        str | None, typer.Option(help="A folder, a hub id, or the server's name for it.")
    ] = None,
    judge: Annotated[
        str | None, typer.Option(help="Another model to judge; the captioner if left out.")
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="An OpenAI-compatible server that has the captioner.")
    ] = None,
    judge_url: Annotated[str | None, typer.Option(help="The judge's, if another.")] = None,
    key_variable: Annotated[
        str, typer.Option(help="The environment variable that holds the server's key.")
    ] = "OPENAI_API_KEY",
    images: Annotated[Path | None, typer.Option(help="Where image paths of records begin.")] = None,
    prompts: Annotated[Path | None, typer.Option(help="Folder of prompts of your own.")] = None,
    rewriting: Annotated[
        Literal["captioner", "own", "placeholder"],
        typer.Option(help="What stands for a helper image; placeholder is the paper's ablation."),
    ] = "captioner",
    refining: Annotated[bool, typer.Option("--refine/--no-refine")] = True,
    filtering: Annotated[bool, typer.Option("--filter/--no-filter")] = True,
    workers: Annotated[int, typer.Option(min=1, help="Requests at a time.")] = 8,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Of each reply.")] = 512,
    limit: Annotated[int | None, typer.Option(min=1, help="Most items.")] = None,
    on_fault: Annotated[
        Literal["skip", "stop"], typer.Option(help="At records that cannot be used.")
    ] = "skip",
    store_images: Annotated[
        Literal["embedded", "paths"], typer.Option(help="How the dataset holds images.")
    ] = "embedded",
    anew: Annotated[bool, typer.Option("--anew", help="Forget what was asked before.")] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Ask again for items that failed.")
    ] = False,
) -> None:
    """Turn interleaved reasoning data into text imagination; call again to resume."""
    from rich.progress import MofNCompleteColumn, Progress, TextColumn

    from mindseye.imagination.building import Endpoint, LocalModel, Settings
    from mindseye.imagination.building import build as build_data

    def asker(model: str, at: str | None) -> Endpoint | LocalModel:
        return Endpoint(model, at, key_variable=key_variable) if at else LocalModel.load(model)

    settings = Settings(
        rewriting, refining, filtering, max_new_tokens=max_new_tokens, workers=workers
    )
    describe = None if captioner is None else asker(captioner, url)
    other = judge or (captioner if judge_url else None)
    decide = describe if other is None else asker(other, judge_url or url)
    given = _given(data, "test")
    columns = (
        *Progress.get_default_columns()[:2],
        MofNCompleteColumn(),
        TextColumn("{task.fields[said]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        bar = bars.add_task("building", total=limit, said="")
        report = build_data(
            given,
            out,
            captioner=describe,
            judge=decide,
            settings=settings,
            prompts=prompts,
            images=images,
            on_fault=on_fault,
            limit=limit,
            store_images=store_images,
            anew=anew,
            retry_failed=retry_failed,
            progress=lambda now: bars.update(
                bar,
                completed=now.done,
                said=f"{now.outcomes.get('kept', 0)} kept, "
                f"{now.tokens_in + now.tokens_out:,} tokens",
            ),
        )
    console = Console()
    console.print(report.counts.to_string(index=False), markup=False, highlight=False)
    console.print(
        f"{report.n_kept} items kept, {len(report.faults)} records unusable; see "
        f"{report.out / 'report.html'}",
        markup=False,
        soft_wrap=True,
    )


@capimagine.command()
def train(
    recipe: Annotated[
        str, typer.Argument(help="A recipe file, or paper for the shipped one with its defaults.")
    ],
    data: Annotated[
        str | None, typer.Argument(help="A built folder, or digits:N; not needed to try it out.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write; a training that stopped there goes on.")
    ] = None,
    try_out: Annotated[
        bool, typer.Option("--dry-run", help="Take 3 steps with a small random model.")
    ] = False,
    changed: Annotated[
        list[str],
        typer.Option("--set", help="A field of the recipe, as imagination=latent; repeat it."),
    ] = [],  # noqa: B006  typer reads it once
    anew: Annotated[bool, typer.Option("--anew", help="Remove checkpoints in the folder.")] = False,
) -> None:
    """Train a model to imagine in words as a recipe says; call again to resume.

    On several GPUs: accelerate launch -m mindseye.cli capimagine train RECIPE DATA --out FOLDER.
    """
    from mindseye.errors import OutputError
    from mindseye.imagination.training import PAPER, Recipe, dry_run
    from mindseye.imagination.training import train as train_model
    from mindseye.report import check_writable

    plan = PAPER if recipe == "paper" else Recipe.load(Path(recipe))
    plan = Recipe.from_dict(plan.to_dict() | dict(map(_field, changed)))
    console = Console()
    if try_out:
        found = dry_run(plan)
        console.print(f"{found.steps} steps taken; the recipe works on a small random model.")
        return
    if data is None or out is None:
        raise OutputError(
            "capimagine train got no data or no --out; expected a built folder (or digits:N) and a "
            "folder to write. Give both, or --dry-run."
        )
    check_writable(out)
    found = train_model(plan, _given(data, "train"), out, resume=not anew)
    kept = "no item was held out"
    if found.accuracy is not None:
        kept = f"accuracy {found.accuracy:.1%} on held-out items at step {found.best_step}"
    console.print(
        f"{found.folder}: {found.steps} steps; {kept}",
        markup=False,
        soft_wrap=True,
    )


def _field(said: str) -> tuple[str, Any]:
    """Return a recipe's field and its value, JSON where it is JSON.

    Raises:
        ModelError: Something without an equals sign.
    """
    import json

    from mindseye.errors import ModelError

    name, equals, value = said.partition("=")
    if not equals:
        raise ModelError(
            f"--set got {said!r}; expected a field and a value, such as learning_rate=1e-5."
        )
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _given(data: str, split: str) -> Any:
    """Return samples of the digits world if `digits:N` asks for them, else the path."""
    from mindseye.tasks import task

    name, _, n = data.partition(":")
    return task("digits").samples(int(n), split=split) if name == "digits" and n.isdigit() else data
