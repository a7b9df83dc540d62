"""Models whose causal truth is known, on the command line: `mindseye organisms`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from mindseye.cli.options import Seed, quiet

__all__ = ["organisms"]

organisms = typer.Typer(help="List models whose causal truth is known; measure or train one.")


@organisms.command("list")
def list_organisms() -> None:
    """List models whose causal truth is known, with that truth."""
    from mindseye.report import plugin_table

    Console().print(plugin_table("organisms"))
    Console().print("Load one with organism:NAME; check them all with mindseye validate.")


@organisms.command()
def measure(
    name: Annotated[str, typer.Argument(help="An organism.")],
    n: Annotated[int, typer.Option("--samples", min=1, help="Questions of each kind.")] = 500,
    seed: Seed = 0,
) -> None:
    """Measure an organism's accuracy on held-out handwriting, by kind of question."""
    from rich.progress import track
    from scipy.stats import binomtest

    import mindseye as me
    from mindseye.imagination.miniature import KINDS, MINIATURES
    from mindseye.tasks.digits import TASK_KINDS

    quiet()
    reasoner = me.load(f"organism:{name}")
    table = Table(title=f"{name}, {n} held-out questions of each kind")
    for column in ("kind", "accuracy", "95 % interval", "emission rate"):
        table.add_column(column, justify="left" if column == "kind" else "right")
    for kind in KINDS if name.partition("-")[0] in MINIATURES else TASK_KINDS:
        samples = me.task("digits", kinds=(kind,)).samples(n, seed=seed)
        traces = [reasoner.run(s) for s in track(samples, kind, transient=True)]
        right = sum(trace.answer == trace.sample.answer for trace in traces)
        exact = binomtest(right, n).proportion_ci()
        emitted = sum(trace.emitted for trace in traces) / n
        table.add_row(
            kind, f"{right / n:.1%}", f"{exact.low:.1%} to {exact.high:.1%}", f"{emitted:.1%}"
        )
    Console().print(table)


@organisms.command()
def train(
    name: Annotated[
        str, typer.Argument(help="A recipe, or natural, capimagine, captioner or direct.")
    ],
    out: Annotated[Path, typer.Option(help="Folder to write; a checkpoint there is resumed.")],
    base: Annotated[
        Path | None, typer.Option(help="Folder it starts from; the shipped base if left out.")
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Of the four that differ in how they imagine alone.")
    ] = 0,
) -> None:
    """Train organisms' weights from a recorded recipe and seed; call again to resume."""
    from mindseye.imagination.miniature import MINIATURES, train_miniature
    from mindseye.organisms import recipe, weights_of
    from mindseye.organisms.training import train as train_organism
    from mindseye.report import check_writable

    check_writable(out)
    quiet()
    if name in MINIATURES:
        train_miniature(name, out, seed=seed)
    else:
        start = recipe(name).base
        train_organism(name, out, base or (weights_of(start) if start else None))
    Console().print(f"{name} is in {out}")
