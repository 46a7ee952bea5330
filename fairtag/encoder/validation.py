"""Score an encoder on held-out queries and items: nDCG@10, and the errors of grades and prices."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fairtag.encoder.config import EncoderConfig
from fairtag.encoder.losses import Losses
from fairtag.encoder.model import embed
from fairtag.encoder.training_data import EncoderData, Pairs
from fairtag.search.ranking_metrics import informative, ndcg_by_query

BATCH = 64


def evaluate(losses: Losses, data: EncoderData, config: EncoderConfig, pad_token_id: int) -> dict[str, float]:
    """Scores by name; each where there is something to score.

    Returns:
        ``ndcg10``: mean nDCG@10 of the held-out queries, ordered by cosine.
        ``cosine_rmse``: RMSE of the grade under the best linear function of the cosine. It measures the embeddings
        alone, so an untuned encoder, whose head was never trained, is compared fairly.
        ``relevance_rmse``: RMSE of the grade under the relevance head.
        ``price_rmsle``: root mean squared log error of held-out prices under the price head.
    """
    return {**_relevance(losses, data, config, pad_token_id), **_price(losses, data, pad_token_id)}


def validation_pairs(data: EncoderData, config: EncoderConfig) -> Pairs:
    """The held-out pairs of the first ``validation.queries`` queries whose grades differ; may be empty."""
    held = data.held_out
    if not len(held):
        return held
    queries = np.unique(held.query)[informative(held.query, held.relevance)][: config.validation.queries]
    kept = np.isin(held.query, queries)
    return Pairs(held.query[kept], held.item[kept], held.relevance[kept])


def pair_cosines(losses: Losses, data: EncoderData, pairs: Pairs, pad_token_id: int) -> NDArray[np.float64]:
    """Cosine (p,) of the query and the item of each pair."""
    query, item = _vectors(losses, data, pairs, pad_token_id)
    return (query * item).sum(1).numpy().astype(np.float64)


def _vectors(losses: Losses, data: EncoderData, pairs: Pairs, pad_token_id: int) -> tuple[Tensor, Tensor]:
    """Embeddings (p, d) of the query and of the item of each pair; each distinct text is embedded once."""
    rows, place = np.unique(np.concatenate([pairs.query, pairs.item]), return_inverse=True)
    vectors = torch.from_numpy(embed(losses.encoder, [data.tokens[row] for row in rows], pad_token_id, BATCH))
    return vectors[place[: len(pairs)]], vectors[place[len(pairs) :]]


def _relevance(losses: Losses, data: EncoderData, config: EncoderConfig, pad_token_id: int) -> dict[str, float]:
    pairs = validation_pairs(data, config)
    if not len(pairs):
        return {}
    query, item = _vectors(losses, data, pairs, pad_token_id)
    cosine = (query * item).sum(1).numpy()
    scores = {"ndcg10": float(ndcg_by_query(pairs.query, pairs.relevance, cosine).mean())}
    scores["cosine_rmse"] = _line_rmse(cosine.astype(np.float64), pairs.relevance.astype(np.float64))
    if "relevance" in losses.heads.tasks:
        device = next(losses.parameters()).device
        with torch.inference_mode():
            predicted = losses.heads.tasks["relevance"](query.to(device), item.to(device)).clamp(0, 1).cpu().numpy()
        scores["relevance_rmse"] = float(np.sqrt(np.mean((predicted - pairs.relevance) ** 2)))
    return scores


def _line_rmse(score: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    slope, intercept = np.polyfit(score, truth, 1) if float(np.ptp(score)) > 0 else (0.0, float(truth.mean()))
    return float(np.sqrt(np.mean((slope * score + intercept - truth) ** 2)))


def _price(losses: Losses, data: EncoderData, pad_token_id: int) -> dict[str, float]:
    held = data.held_out_prices
    if not len(held) or "price" not in losses.heads.tasks:
        return {}
    vectors = embed(losses.encoder, [data.tokens[row] for row in held.item], pad_token_id, BATCH)
    mean, deviation = losses.price_scale
    device = next(losses.parameters()).device
    with torch.inference_mode():
        standardised = losses.heads.tasks["price"](torch.from_numpy(vectors).to(device)).cpu().numpy()
    error = np.log1p(np.exp(mean + deviation * standardised)) - np.log1p(np.exp(held.log_price))
    return {"price_rmsle": float(np.sqrt(np.mean(error**2)))}
