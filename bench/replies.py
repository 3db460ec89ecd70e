"""The sampled replies in a recording as text, those that no suite ships too: what agents are trained on."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from bench.assemble import replies_table
from bench.items import Item
from bench.raw import RawReplies, read_settings
from tasks.errors import InputError


def sampled(directory: Path, asked: Sequence[Item], model: str) -> pd.DataFrame:
    """Return a model's samples of the items in a recording, one row each, with the columns of `tables.REPLIES`.

    Raises `InputError` where `directory` is no recording, and where the model was sampled on none of the items.
    """
    read_settings(directory)
    drawn = RawReplies(directory).done("samples", model)
    found = replies_table([replace(item, shareable=True) for item in asked], [model], [drawn])
    if found.empty:
        raise InputError(f"{directory} holds no samples of {model} on these questions; record the stage samples")
    return found
