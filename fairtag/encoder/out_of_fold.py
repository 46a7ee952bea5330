"""What encoders of a cross-validation say of pairs that they had not seen, kept beside the one that saw them all.

A model that is fitted on an encoder's cosine must not be fitted on pairs that the encoder learnt. With folds every
judged pair has a cosine of an encoder taught without it (stacking: Wolpert 1992).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fairtag.base import schema
from fairtag.base.files import write_atomic
from fairtag.base.text import normalise

if TYPE_CHECKING:
    from fairtag.encoder.training_data import EncoderData  # serving reads no table

UNSEEN = "unseen_cosines.parquet"  # it holds customers' queries, and no model folder takes it along
COSINE = "cosine"

Floats = NDArray[np.float64]


def write_unseen(folder: Path, data: EncoderData, cosine: Floats) -> None:
    """Write the cosine (n,) of every pair of ``data.train`` by an encoder that had not seen its query."""
    texts = np.array(data.texts, dtype=object)
    frame = pd.DataFrame(
        {schema.QUERY: texts[data.train.query], schema.TITLE: texts[data.train.item], COSINE: cosine.astype(np.float32)}
    )
    write_atomic(folder / UNSEEN, lambda path: frame.to_parquet(path, index=False))


def read_unseen(folder: Path) -> pd.DataFrame | None:
    """What :func:`write_unseen` wrote into an encoder folder; None where it was trained without folds."""
    return pd.read_parquet(folder / UNSEEN) if (folder / UNSEEN).is_file() else None


def unseen_cosine(judgements: pd.DataFrame, unseen: pd.DataFrame) -> Floats:
    """The cosine (n,) of each judged pair by an encoder that had not seen its query; NaN for a pair none has scored."""
    keys = pd.DataFrame({name: judgements[name].map(normalise) for name in (schema.QUERY, schema.TITLE)})
    found = keys.merge(unseen, how="left", on=[schema.QUERY, schema.TITLE], validate="many_to_one")
    return found[COSINE].to_numpy(dtype=np.float64)
