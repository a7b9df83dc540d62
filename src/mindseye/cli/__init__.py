"""The command line: thin, and lazy about heavy imports."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from mindseye.cli.capimagine import capimagine
from mindseye.cli.options import (
    Device,
    DType,
    Levels,
    Model,
    Out,
    Pairs,
    ProtocolName,
    Seed,
    loading,
    quiet,
)
from mindseye.cli.organisms import organisms
from mindseye.cli.reproduce import reproduce
from mindseye.errors import MindseyeError

if TYPE_CHECKING:
    from mindseye.causal import Forecast
    from mindseye.samples import Pair

app = typer.Typer(
    name="mindseye",
    help="Causal audits of multimodal models that imagine before they answer.",
    epilog="Add --debug to any command for a full traceback.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.add_typer(organisms, name="organisms")
app.add_typer(capimagine, name="capimagine")
app.command()(reproduce)

DEMO_ORGANISMS = ("mediator", "bypass", "natural")


def main() -> None:
    """Run the command line; a fault the user can mend is one line and exit code 2."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    if arguments == ["organisms"]:
        arguments.append("list")
    try:
        app(arguments)
    except MindseyeError as fault:
        if "--debug" in sys.argv:
            raise
        Console(stderr=True, soft_wrap=True).print(
            f"mindseye: {' '.join(str(fault).split())}", style="red", markup=False, highlight=False
        )
        sys.exit(2)


@app.command()
def demo(
    out: Out = Path("mindseye-demo"),
    n_pairs: Pairs = 64,
    seed: Seed = 0,
) -> None:
    """Audit three small models whose truth is known, and write a report to open in a browser."""
    _audit(
        [f"organism:{name}" for name in DEMO_ORGANISMS],
        "digits",
        out,
        n_pairs,
        seed=seed,
    )


@app.command()
def audit(
    models: Annotated[list[str], typer.Argument(help="Folders, hub ids, or organism:NAME.")],
    task: Annotated[str, typer.Option(help="Where pairs come from.")] = "digits",
    out: Out = Path("mindseye-audit"),
    n_pairs: Pairs = 64,
    levels: Levels = "embedding,kv,span",
    layers: Annotated[
        str | None, typer.Option(help="Layers to sweep, separated by commas; all if left out.")
    ] = None,
    perturb: Annotated[
        str | None,
        typer.Option(help="Make pairs by a perturbation, such as mask_target:fill=mean."),
    ] = None,
    replace: Annotated[
        list[str],
        typer.Option(help="Replace latents by something else, such as noise:scale=0.3; repeat it."),
    ] = [],  # noqa: B006  typer reads it once
    seed: Seed = 0,
    protocol: ProtocolName = None,
    device: Device = None,
    dtype: DType = "float32",
) -> None:
    """Ask of any models whether their imagination does any work on a task.

    What may be named: mindseye list perturbations, mindseye list replacements.
    """
    from mindseye.engine import find_arms
    from mindseye.interventions.perturbations import find_perturbation

    find_arms(replace)  # a name that nobody knows should not wait for a model to load
    if perturb is not None:
        find_perturbation(perturb, pool=[])
    asked: dict[str, Any] = {"levels": _split(levels), "layers": _layers(layers)}
    asked |= {"perturb": perturb} | ({"replace": ["identity", *replace]} if replace else {})
    _audit(models, task, out, n_pairs, seed=seed, options=loading(protocol, device, dtype), **asked)


@app.command()
def validate(
    names: Annotated[
        list[str] | None, typer.Argument(help="Organisms; all whose truth is known if left out.")
    ] = None,
    n_pairs: Annotated[int, typer.Option("--pairs", min=4, help="Minimal pairs each.")] = 32,
    random_weights: Annotated[
        int | None,
        typer.Option("--random-weights", help="Seed of random weights instead of the trained."),
    ] = None,
    as_csv: Annotated[
        Path | None, typer.Option("--csv", help="A file to write one row per organism to.")
    ] = None,
    seed: Seed = 0,
) -> None:
    """Run the instrument on models whose truth is known; exit 1 if any verdict is wrong."""
    from mindseye.report import (
        check_writable,
        sensitivity_table,
        validation_tables,
        write_whole,
    )
    from mindseye.studies import sensitivity
    from mindseye.studies import validate as run_validation
    from mindseye.studies.validation import KNOWN

    if as_csv is not None:
        check_writable(as_csv.parent)
    quiet()
    with _Bars() as bars:
        found = run_validation(
            tuple(names or KNOWN),
            n_pairs=n_pairs,
            seed=seed,
            weights=random_weights,
            track=bars.track,
        )
    console = Console()
    for table in validation_tables(found):
        console.print(table)
    if random_weights is None and not names:
        console.print(sensitivity_table(sensitivity(n_pairs=max(n_pairs // 2, 4), seed=seed)))
    if as_csv is not None:
        csv = found.to_frame().to_csv(index=False)
        write_whole(as_csv.parent, {as_csv.name: csv.encode()})
        console.print(f"Written to {as_csv}", soft_wrap=True)
    for name, where in found.wrong.items():
        console.print(f"{name} is wrong at {', '.join(where)}.", style="red")
    if found.wrong:
        raise typer.Exit(1)
    console.print(f"All {len(found.tested)} verdicts are right.")


@app.command()
def inspect(
    model: Model,
    protocol: ProtocolName = None,
    device: Device = None,
    dtype: DType = "float32",
    as_json: Annotated[
        Path | None, typer.Option("--json", help="A file to write the same to; - is the terminal.")
    ] = None,
    n_samples: Annotated[
        int, typer.Option("--samples", min=0, help="Questions to run, for the trigger rate.")
    ] = 0,
    task: Annotated[str, typer.Option(help="Where the questions come from.")] = "digits",
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Of each run.")] = 256,
    seed: Seed = 0,
) -> None:
    """Say what a checkpoint is, how its latents were recognised and, if asked, when it imagines."""
    import dataclasses
    import json

    from rich.progress import track

    import mindseye as me
    from mindseye.reasoners import triggering
    from mindseye.report import check_writable, inspection_table, write_whole

    world = me.task(task) if n_samples else None
    if as_json is not None and str(as_json) != "-":
        check_writable(as_json.parent)
    quiet()
    reasoner = me.load(model, **loading(protocol, device, dtype))
    found = me.inspect(reasoner)
    if world is not None:
        samples = track(
            world.samples(n_samples, seed=seed),
            "running",
            transient=True,
            console=Console(stderr=True),
        )
        traces = [reasoner.run(sample, max_new_tokens=max_new_tokens) for sample in samples]
        found["triggering"] = {"task": task, **dataclasses.asdict(triggering(traces))}
    plain = json.dumps(found, indent=2)
    if as_json is None:
        Console().print(inspection_table(found))
    elif str(as_json) == "-":
        typer.echo(plain)
    else:
        write_whole(as_json.parent, {as_json.name: f"{plain}\n".encode()})
        Console().print(f"Written to {as_json}", soft_wrap=True)


@app.command()
def run(
    model: Model,
    question: Annotated[str, typer.Option(help="What to ask.")],
    image: Annotated[
        list[Path], typer.Option(help="An image file; may be given several times.")
    ] = [],  # noqa: B006  typer reads it once
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Latents included.")] = 64,
    force_start: Annotated[
        bool, typer.Option("--force-start", help="Begin with a start marker.")
    ] = False,
    protocol: ProtocolName = None,
    device: Device = None,
    dtype: DType = "float32",
) -> None:
    """Run one question and show what the model says, latents included."""
    import mindseye as me
    from mindseye.samples import read_image

    sample = me.Sample(images=tuple(image), question=question, answer="")
    for source in sample.images:
        read_image(source)  # a bad image should not wait for the model to load
    quiet()
    reasoner = me.load(model, **loading(protocol, device, dtype))
    trace = reasoner.run(sample, max_new_tokens=max_new_tokens, force_start=force_start)
    console = Console()
    said = trace.tokens()[trace.n_prompt :]
    console.print("".join(said), markup=False, highlight=False, soft_wrap=True)
    for segment in trace.segments:
        where = f" at {segment.slots[0]} to {segment.slots[-1]}" if segment.slots else ""
        console.print(f"{len(segment.slots)} latents{where}, ended by {segment.stop}")
    if not trace.segments:
        console.print("no latents")
    answer = trace.answer if trace.parsed else "none that could be parsed"
    console.print(f"answer: {answer}", markup=False, style="bold")


@app.command()
def read(
    model: Model,
    readout: Annotated[
        str, typer.Argument(help="What to read, such as lens:top=3; see mindseye list readouts.")
    ],
    out: Annotated[Path, typer.Option(help="A file to write rows to: .csv or .parquet.")],
    task: Annotated[str, typer.Option(help="Where samples come from.")] = "digits",
    n_samples: Annotated[int, typer.Option("--samples", min=1, help="Questions to run.")] = 32,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Of each run.")] = 256,
    seed: Seed = 0,
    protocol: ProtocolName = None,
    device: Device = None,
    dtype: DType = "float32",
) -> None:
    """Read something from a model's runs, beside its control, and write one row per measurement."""
    import io

    import numpy as np
    import pandas as pd
    from rich.progress import track

    import mindseye as me
    from mindseye.errors import OutputError, SampleError
    from mindseye.readouts import find_readout
    from mindseye.report import check_writable, write_whole

    look, told = find_readout(readout)
    if out.suffix not in (".csv", ".parquet"):
        raise OutputError(f"--out got {str(out)!r}; expected a file called .csv or .parquet.")
    check_writable(out.parent)
    world = me.task(task)
    quiet()
    reasoner = me.load(model, **loading(protocol, device, dtype))
    samples = track(
        world.samples(n_samples, seed=seed),
        "running",
        transient=True,
        console=Console(stderr=True),
    )
    runs = [reasoner.run(sample, max_new_tokens=max_new_tokens) for sample in samples]
    imagined = [run for run in runs if run.emitted]
    if not imagined:
        raise SampleError(f"{model} imagined in none of {len(runs)} runs; nothing can be read.")
    found = look(imagined, rng=np.random.default_rng(seed), **told)
    rows = found if isinstance(found, pd.DataFrame) else found.to_frame()
    if out.suffix == ".csv":
        content = rows.to_csv(index=False).encode()
    else:
        buffer = io.BytesIO()
        rows.to_parquet(buffer, index=False)
        content = buffer.getvalue()
    write_whole(out.parent, {out.name: content})
    Console().print(
        f"{len(rows)} rows of {len(imagined)} runs that imagined (of {len(runs)}), beside "
        f"{look.control}, in {out}",
        markup=False,
        soft_wrap=True,
    )


@app.command("list")
def list_plugins(
    kind: Annotated[
        str,
        typer.Argument(
            help="perturbations, replacements, outcomes, readouts, tasks, protocols or organisms."
        ),
    ],
    name: Annotated[
        str | None, typer.Argument(help="One of them, to see its parameters, one a line.")
    ] = None,
) -> None:
    """List what there is of one kind, with what each takes and what it declares."""
    from mindseye.report import parameter_table, plugin_table

    Console().print(plugin_table(kind) if name is None else parameter_table(kind, name))


@app.command()
def mediate(
    model: Model,
    clean: Annotated[Path, typer.Option(help="The image x1.")],
    reference: Annotated[Path, typer.Option(help="The image x0, of the same size.")],
    question: Annotated[str, typer.Option(help="What to ask about both.")],
    answers: Annotated[tuple[str, str], typer.Option(help="The answer to each.")],
    levels: Levels = "embedding,kv,span",
    protocol: ProtocolName = None,
    device: Device = None,
    dtype: DType = "float32",
) -> None:
    """Split the effect of exchanging one image for another into direct and mediated parts."""
    import mindseye as me
    from mindseye.report import effects_table

    pair = me.Pair(
        me.Sample((clean,), question, answers[0], id=str(clean)),
        me.Sample((reference,), question, answers[1], id=str(reference)),
        id=f"{clean} / {reference}",
    )
    quiet()
    reasoner = me.load(model, **loading(protocol, device, dtype))
    found = me.mediate(reasoner, [pair], levels=_split(levels))
    console = Console()
    for ran in found.runs.to_dict("records"):
        console.print(
            f"{ran['side']}: answered {ran['answer']!r}, expected {ran['gold']!r}", markup=False
        )
    console.print(effects_table(found))


def _audit(
    models: Sequence[str],
    task: str,
    out: Path,
    n_pairs: int,
    *,
    seed: int,
    options: dict[str, Any] | None = None,
    **asked: Any,
) -> None:
    """Audit models one after another, write the report, and print the verdicts."""
    import time

    import mindseye as me
    from mindseye.report import check_writable, verdict_table, write_report
    from mindseye.studies import audit as run_audit

    began = time.perf_counter()
    check_writable(out)
    world = me.task(task)
    quiet()
    audits = []
    with _Bars() as bars:
        for model in models:
            bars.model = model
            audits.append(
                run_audit(
                    me.load(model, **(options or {})),
                    world,
                    n_pairs=n_pairs,
                    seed=seed,
                    truth=_truth(model),
                    track=bars.track,
                    announce=bars.say,
                    **asked,
                )
            )
    page = write_report(audits, out, seed=seed)
    console = Console()
    console.print(verdict_table(audits))
    console.print(
        f"Report: {page.resolve()}  ({time.perf_counter() - began:.0f} s)", soft_wrap=True
    )


class _Bars:
    """Progress bars, one per stage of each model."""

    def __init__(self) -> None:
        from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn

        columns = Progress.get_default_columns()
        self._progress = Progress(*columns[:2], MofNCompleteColumn(), TimeElapsedColumn())
        self.model = ""

    def __enter__(self) -> _Bars:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def say(self, forecast: Forecast) -> None:
        """Print what is to be expected of the run, above the bars."""
        self._progress.console.print(f"{self.model}: {forecast}", markup=False, highlight=False)

    def track(self, title: str, pairs: Sequence[Pair]) -> Iterable[Pair]:
        def steps() -> Iterator[Pair]:
            yield from self._progress.track(
                pairs, description=f"{self.model}: {title}".removeprefix(": ")
            )

        return steps()


def _truth(model: str) -> str:
    """Return what is known of an organism by construction."""
    from mindseye.organisms import design

    scheme, _, name = model.partition(":")
    return design(name).truth if scheme == "organism" else ""


def _split(levels: str) -> list[str]:
    return [level.strip() for level in levels.split(",") if level.strip()]


def _layers(layers: str | None) -> list[int] | None:
    from mindseye.errors import EditError

    if layers is None:
        return None
    try:
        return [int(layer) for layer in _split(layers)]
    except ValueError as fault:
        raise EditError(
            f"--layers got {layers!r}; it takes whole numbers separated by commas, such as 0,1,2."
        ) from fault
