"""The shape of the package as a whole: its public names, and what importing it costs."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import mindseye

HEAVY = ("torch", "transformers", "plotly")
PUBLIC = (
    "load",
    "task",
    "sweep",
    "mediate",
    "probe",
    "probe_runs",
    "similarity",
    "similarity_runs",
    "lens",
    "attention",
    "battery",
    "perturbation",
    "replacement",
    "outcome",
    "readout",
    "Reasoner",
    "Trace",
    "Sample",
    "Pair",
    "LatentProtocol",
    "Knockout",
    "Edit",
)


def loaded_by(statement: str) -> set[str]:
    """Which heavy packages a fresh Python holds after one statement."""
    listing = f"print(json.dumps([m for m in {HEAVY} if m in sys.modules]))"
    code = f"import json, sys\n{statement}\n{listing}"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(run.stdout.splitlines()[-1]))


def imports_top_package(source: str) -> bool:
    """Whether a module imports `mindseye` itself instead of one of its rooms."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import) and any(name.name == "mindseye" for name in node.names):
            return True
        if isinstance(node, ast.ImportFrom) and node.module == "mindseye" and not node.level:
            return True
    return False


def test_importing_mindseye_loads_nothing_heavy() -> None:
    assert loaded_by("import mindseye") == set()


def test_the_check_for_heavy_imports_sees_torch_when_it_is_loaded() -> None:
    assert "torch" in loaded_by("import mindseye, torch")


def test_samples_tasks_and_plugins_load_nothing_heavy() -> None:
    assert loaded_by("import mindseye.samples, mindseye.plugins, mindseye.tasks.digits") == set()


def test_the_command_line_loads_nothing_heavy_before_it_is_told_what_to_do() -> None:
    assert loaded_by("import mindseye.cli") == set()


def test_asking_for_a_reasoner_is_what_loads_torch() -> None:
    assert "torch" in loaded_by("from mindseye import Reasoner")


@pytest.mark.parametrize("name", PUBLIC)
def test_a_promised_name_is_public_and_resolves(name: str) -> None:
    assert name in mindseye.__all__
    assert callable(getattr(mindseye, name))


def test_every_listed_name_resolves() -> None:
    missing = [name for name in mindseye.__all__ if getattr(mindseye, name, None) is None]
    assert not missing


def test_dir_shows_every_public_name() -> None:
    assert set(mindseye.__all__) <= set(dir(mindseye))


def test_an_unknown_name_is_an_attribute_error_that_repeats_it() -> None:
    with pytest.raises(AttributeError, match="imagine_harder"):
        _ = mindseye.imagine_harder


def test_no_room_below_the_command_line_imports_the_top_package() -> None:
    # Its lazy names would be a way round the order of rooms. Nothing imports the command line, so
    # there it is no way to anywhere.
    package = Path(mindseye.__file__).parent
    allowed = {package / "__init__.py", *package.glob("cli/*.py")}
    guilty = [
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if path not in allowed and imports_top_package(path.read_text(encoding="utf-8"))
    ]
    assert not guilty


@pytest.mark.parametrize(
    "source",
    ["import mindseye", "import mindseye as me", "def f():\n    from mindseye import load"],
)
def test_an_import_of_the_top_package_would_be_seen(source: str) -> None:
    assert imports_top_package(source)


def test_an_import_of_a_room_is_not_mistaken_for_one_of_the_top_package() -> None:
    assert not imports_top_package("from mindseye.samples import Sample")
