"""Cross-validation of encoder settings: one encoder for each fold, scored on the fold it did not train on."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fairtag.base.errors import DataError
from fairtag.encoder import distributed
from fairtag.encoder.config import EncoderConfig
from fairtag.encoder.loop import Loop, Monotonic, Progress
from fairtag.encoder.model import Encoder
from fairtag.encoder.training_data import Clicks, EncoderData, Ints, Pairs, Prices
from fairtag.encoder.validation import pair_cosines

_STREAM = 6  # its own random stream of the seed


@dataclass(frozen=True)
class CrossValidation:
    """Scores on the queries and items of each fold, by encoders that did not train on them.

    Args:
        folds: Number of folds.
        scores: One row for each fold: ndcg10, cosine_rmse, relevance_rmse, price_rmsle, where the fold has such rows.
        mean: Mean over the folds that have the score.
        deviation: Standard deviation over those folds; 0 where there is only one.
        untuned: Mean of the same scores before the first step.
        seconds: Time in the training loops.
    """

    folds: int
    scores: list[dict[str, float]]
    mean: dict[str, float]
    deviation: dict[str, float]
    untuned: dict[str, float]
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """The scores as a JSON object."""
        return asdict(self)


def cross_validate(
    config: EncoderConfig,
    data: EncoderData,
    fresh: Callable[[], Encoder],
    pad_token_id: int,
    work: Path,
    progress: Callable[[Progress], None] | None,
    clock: Monotonic,
) -> tuple[CrossValidation, NDArray[np.float64]]:
    """For each fold, train an encoder on the other folds and score it on this one.

    The last step is scored, never the best one: the best step would be chosen on the very rows that are scored. A
    killed run resumes in the fold it was in.

    Args:
        config: Settings; ``validation.folds`` of at least 2.
        data: Every row in ``train`` and ``prices``, nothing held out.
        fresh: Makes a new base encoder.
        pad_token_id: Token that fills a batch.
        work: Folder of checkpoints, with a folder for each fold.
        progress: Called after each step, with the fold as its stage.
        clock: Monotonic seconds.

    Returns:
        The scores, and the out-of-fold cosine (n,) of every pair of ``data.train``.

    Raises:
        DataError: There are fewer queries and fewer items than folds.
        NonFiniteLoss: The loss became NaN or infinite.
    """
    plain = config.override({"validation": {"every": 0, "patience": 0}})
    first: list[dict[str, float]] = []
    last: list[dict[str, float]] = []
    seconds = 0.0
    cosine = np.zeros(len(data.train))
    for number, part in enumerate(split_folds(data, config.validation.folds, config.seed), start=1):
        torch.manual_seed(config.seed)
        staged = _staged(progress, f"fold {number} of {config.validation.folds}") if progress else None
        loop = Loop(plain, fresh(), part, pad_token_id, work / f"fold-{number}", staged, clock)
        loop.run(best=False)
        # A sharded encoder embeds only with every process taking part.
        if len(part.held_out) and (distributed.rank() == 0 or loop.sharded):
            held = np.isin(data.train.query, part.held_out.query)
            cosine[held] = pair_cosines(loop.losses, part, part.held_out, pad_token_id)
        seconds += loop.state.seconds
        for rows, row in ((first, loop.state.evaluations[0]), (last, loop.state.evaluations[-1])):
            rows.append({name: value for name, value in row.items() if name != "step"})
    values = _by_name(last)
    result = CrossValidation(
        folds=config.validation.folds,
        scores=last,
        mean={name: statistics.fmean(scores) for name, scores in values.items()},
        deviation={name: statistics.stdev(scores) if len(scores) > 1 else 0.0 for name, scores in values.items()},
        untuned={name: statistics.fmean(scores) for name, scores in _by_name(first).items()},
        seconds=seconds,
    )
    return result, cosine


def split_folds(data: EncoderData, folds: int, seed: int) -> Iterator[EncoderData]:
    """The data once for each fold, with that fold's queries and items held out; each is held out exactly once.

    Impressions of a held-out query are left out too: without judgements, its grades came from them.

    Raises:
        DataError: There are fewer queries and fewer items than folds.
    """
    queries, items = np.unique(data.train.query), np.arange(len(data.prices))
    if max(len(queries), len(items)) < folds:
        raise DataError(
            f"encoder.validation.folds is {folds} and there are {len(queries)} judged queries and {len(items)} priced "
            f"items; use fewer folds or give more rows",
            count=max(len(queries), len(items)),
        )
    query_fold, item_fold = _deal(len(queries), folds, seed), _deal(len(items), folds, seed)
    for fold in range(folds):
        fold_queries = queries[query_fold == fold]
        held, price = np.isin(data.train.query, fold_queries), item_fold == fold
        yield replace(
            data,
            train=_pairs(data.train, ~held),
            held_out=_pairs(data.train, held),
            prices=Prices(data.prices.item[~price], data.prices.log_price[~price]),
            held_out_prices=Prices(data.prices.item[price], data.prices.log_price[price]),
            clicks=_clicks(data.clicks, ~np.isin(data.clicks.query, fold_queries)),
        )


def _deal(count: int, folds: int, seed: int) -> Ints:
    """A random fold (count,) for each of ``count`` rows; fold sizes differ by at most one."""
    fold = np.empty(count, dtype=np.int64)
    fold[np.random.default_rng([seed, _STREAM]).permutation(count)] = np.arange(count) % folds
    return fold


def _pairs(pairs: Pairs, mask: NDArray[np.bool_]) -> Pairs:
    return Pairs(pairs.query[mask], pairs.item[mask], pairs.relevance[mask])


def _clicks(clicks: Clicks, mask: NDArray[np.bool_]) -> Clicks:
    return Clicks(clicks.query[mask], clicks.item[mask], clicks.log_discount[mask], clicks.outcome[mask])


def _staged(progress: Callable[[Progress], None], stage: str) -> Callable[[Progress], None]:
    return lambda now: progress(replace(now, stage=stage))


def _by_name(rows: list[dict[str, float]]) -> dict[str, list[float]]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row[name] for row in rows if name in row] for name in names}
