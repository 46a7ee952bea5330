"""The Home Depot search judgements as graded relevance; they have no prices, customers or orders."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from fairtag.base import schema
from fairtag.base.errors import MissingDataError
from fairtag.base.tables import Tables, coerce, no_rows
from fairtag.data.folders import dataset_folder, read_columns

FOLDER = "home_depot_search"
COLUMNS = ("product_uid", "product_title", "search_term", "relevance")
PROVENANCE = "recorded: homedepot.com search terms and titles, mean of three raters, (relevance - 1) / 2"


def read(data: Path) -> Tables:
    """The judgements under ``data``; all other tables are empty, as the set does not record them.

    Raises:
        MissingDataError: The folder, the file or a column is absent.
    """
    return Tables(
        items=no_rows(schema.ITEMS),
        users=no_rows(schema.USERS),
        impressions=no_rows(schema.IMPRESSIONS),
        orders=no_rows(schema.ORDERS),
        judgements=judgements(dataset_folder(data, FOLDER)),
        metadata={
            "dataset": "home-depot",
            "currency": "USD",
            "provenance": {"judgements": PROVENANCE},
            "observational": True,
            "notes": ["Relevance data only: no prices, no customers."],
        },
    )


def judgements(folder: Path) -> pd.DataFrame:
    """Graded relevance in [0, 1], one row for each search term and product; repeated pairs are averaged."""
    raw = read_columns(folder / "train.csv.gz", COLUMNS)
    frame = pd.DataFrame(
        {
            schema.QUERY: raw["search_term"].astype(str).str.strip(),
            schema.ITEM_ID: raw["product_uid"].astype(str),
            schema.TITLE: raw["product_title"].astype(str).str.strip(),
            schema.RELEVANCE: (raw["relevance"] - 1.0) / 2.0,
        }
    )
    grouped = frame.groupby([schema.QUERY, schema.ITEM_ID], as_index=False, sort=False)
    merged = grouped.agg({schema.TITLE: "first", schema.RELEVANCE: "mean"})
    return coerce(merged, schema.JUDGEMENTS)


def judgements_beside(folder: Path) -> pd.DataFrame | None:
    """The judgements if the set's folder is beside another data set's folder, else None."""
    try:
        return judgements(dataset_folder(folder.parent, FOLDER))
    except MissingDataError:
        return None
