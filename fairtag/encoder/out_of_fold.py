"""Out-of-fold cosines: each judged pair scored by the cross-validation encoder that did not train on its query.

A model fitted on an encoder's cosine must not be fitted on pairs the encoder was trained on. With folds, every judged
pair has a cosine of an encoder trained without it (stacking; Wolpert 1992). The table is kept in the encoder folder.

This module reads tables only; it needs no torch.
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
    from fairtag.encoder.training_data import EncoderData

OUT_OF_FOLD = "out_of_fold_cosines.parquet"  # it holds customers' queries, so no model folder includes it
COSINE = "cosine"

Floats = NDArray[np.float64]


def write_out_of_fold(folder: Path, data: EncoderData, cosine: Floats) -> None:
    """Write the out-of-fold cosine (n,) of every pair of ``data.train`` into an encoder folder."""
    texts = np.array(data.texts, dtype=object)
    frame = pd.DataFrame(
        {schema.QUERY: texts[data.train.query], schema.TITLE: texts[data.train.item], COSINE: cosine.astype(np.float32)}
    )
    write_atomic(folder / OUT_OF_FOLD, lambda path: frame.to_parquet(path, index=False))


def read_out_of_fold(folder: Path) -> pd.DataFrame | None:
    """The table that :func:`write_out_of_fold` wrote; None where the encoder was trained without folds."""
    return pd.read_parquet(folder / OUT_OF_FOLD) if (folder / OUT_OF_FOLD).is_file() else None


def out_of_fold_cosine(judgements: pd.DataFrame, out_of_fold: pd.DataFrame) -> Floats:
    """The out-of-fold cosine (n,) of each judged pair; NaN for a pair that was not scored.

    >>> judgements = pd.DataFrame({"query": ["Oak  chair", "lamp"], "title": ["chair", "lamp"]})
    >>> scores = pd.DataFrame({"query": ["Oak chair"], "title": ["chair"], "cosine": [0.5]})
    >>> out_of_fold_cosine(judgements, scores)
    array([0.5, nan])
    """
    keys = pd.DataFrame({name: judgements[name].map(normalise) for name in (schema.QUERY, schema.TITLE)})
    scored = keys.merge(out_of_fold, how="left", on=[schema.QUERY, schema.TITLE], validate="many_to_one")
    return scored[COSINE].to_numpy(dtype=np.float64)
