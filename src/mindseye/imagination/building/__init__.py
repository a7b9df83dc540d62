"""From interleaved reasoning data to text imagination, by a captioner and a judge.

Start reading at `building`: `build` takes every item through the `stages` rewrite, refine and
filter. What an item is stands in `items`; `reading` finds them in `files`, whose records have one
of three `layouts`. Captioner and judge are `asking`'s one small interface, behind which there is an
endpoint (`endpoints`) or a model in memory (`models`); what they are told are `prompts`. The
`journal` holds every answer from the moment it is given, so that a killed build asks nothing
twice. `output` and `reporting` write what came out.
"""

from mindseye.imagination.building.asking import Asker, Reply, Request, Unanswered
from mindseye.imagination.building.building import BuildReport, Progress, build
from mindseye.imagination.building.endpoints import Endpoint
from mindseye.imagination.building.items import Helper, Item, Words
from mindseye.imagination.building.models import LocalModel
from mindseye.imagination.building.prompts import Prompts
from mindseye.imagination.building.reading import Fault, item_of, read_items
from mindseye.imagination.building.settings import Settings

__all__ = [
    "Asker",
    "BuildReport",
    "Endpoint",
    "Fault",
    "Helper",
    "Item",
    "LocalModel",
    "Progress",
    "Prompts",
    "Reply",
    "Request",
    "Settings",
    "Unanswered",
    "Words",
    "build",
    "item_of",
    "read_items",
]
