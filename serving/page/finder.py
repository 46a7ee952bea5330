"""The items of a page: found by its query or taken by their ids, with their market and corridor as they are now.

Blocks; knows no store, no promise and no price.
"""

from __future__ import annotations

from fairtag.base.errors import RequestError
from serving.page.core import Core, Rows
from serving.page.corridors import EpochCorridors
from serving.page.page_state import Found, Known
from serving.page.served_model import Generation
from serving.protocol.payload import SEARCH, PageRequest
from serving.tracing import Stages


class Finder:
    """Finds what a page shows; several threads may ask at once.

    Args:
        corridors: Those of the epoch.
        stages: What is timed.
    """

    def __init__(self, corridors: EpochCorridors, stages: Stages) -> None:
        self._corridors = corridors
        self._stages = stages

    def find(self, generation: Generation, request: PageRequest, known: Known, epoch: int) -> Found:
        """The items of a request.

        Raises:
            RequestError: None of those it names is in the catalogue.
        """
        core = generation.core
        unknown: list[str] = []
        if request.task == SEARCH:
            assert known.embedding is not None, "a search has a query"
            with self._stages.stage("retrieve"):
                rows = core.retrieve(
                    known.embedding, request.query or "", known.user, request.page_size, generation.items.stock
                )
        else:
            rows, unknown = self.asked_for(core, request)
        return self.look(generation, rows, unknown, epoch)

    @staticmethod
    def asked_for(core: Core, request: PageRequest) -> tuple[Rows, list[str]]:
        """The rows of the items of a ``price`` request, and the ids that the catalogue lacks.

        Raises:
            RequestError: None of the items is in the catalogue.
        """
        rows, unknown = core.rows_of(request.item_ids or ())
        if not len(rows):
            raise RequestError("item_ids", unknown[:3], "none of the items is in the model's catalogue", status=404)
        return rows[: request.page_size], unknown

    def look(self, generation: Generation, rows: Rows, unknown: list[str], epoch: int) -> Found:
        """What is known of some items now."""
        market, age = generation.items.rows(rows)
        corridor = self._corridors.known(generation.core, rows, epoch)
        return Found(rows, unknown, market, age, generation.items.too_old(rows), corridor)
