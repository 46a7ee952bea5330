"""The losses of fine-tuning: contrastive, graded relevance, order, price and clicks of one micro-batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fairtag.encoder.batches import Batch
from fairtag.encoder.config import Objective
from fairtag.encoder.model import Encoder, Heads
from fairtag.encoder.onnx import pad
from fairtag.encoder.training_data import Ints

_ORDER_SCALE = 0.1  # scale of a cosine difference: the judged items of a query lie about this far apart
_FAR = -1e4  # stands for minus infinity in a softmax and keeps the gradient finite


@dataclass(frozen=True)
class TensorBatch:
    """A :class:`~fairtag.encoder.batches.Batch` on the device, with its texts padded."""

    query_ids: Tensor
    query_mask: Tensor
    item_ids: Tensor
    item_mask: Tensor
    pair_query: Tensor
    pair_item: Tensor
    relevance: Tensor
    weight: Tensor
    negative: Tensor
    price_item: Tensor
    log_price: Tensor
    click_query: Tensor
    click_item: Tensor
    log_discount: Tensor
    outcome: Tensor

    @property
    def token_count(self) -> int:
        """Number of tokens that are not padding."""
        return int(self.query_mask.sum()) + int(self.item_mask.sum())


def tensors(batch: Batch, tokens: Sequence[Ints], pad_token_id: int, augment: float, device: str) -> TensorBatch:
    """Pad the texts of a micro-batch and move it to the device; ``augment`` is the share of query tokens to drop."""
    multiple = 8 if device.startswith("cuda") else 1  # tensor cores work in widths of eight
    queries = [tokens[row] for row in batch.queries]
    if augment > 0:
        rng = np.random.default_rng(batch.augment)
        queries = [_drop(ids, augment, rng) for ids in queries]
    query_ids, query_mask = pad(queries, pad_token_id, multiple)
    item_ids, item_mask = pad([tokens[row] for row in batch.items], pad_token_id, multiple)
    arrays = {name.name: getattr(batch, name.name, None) for name in fields(TensorBatch)}
    arrays |= {"query_ids": query_ids, "query_mask": query_mask, "item_ids": item_ids, "item_mask": item_mask}
    moved = {name: torch.from_numpy(array).to(device, non_blocking=True) for name, array in arrays.items()}
    return TensorBatch(**moved)


def _drop(ids: Ints, share: float, rng: np.random.Generator) -> Ints:
    """Drop inner tokens at random; the first and the last, which frame the text, and at least one inner token stay."""
    keep = rng.random(len(ids)) >= share
    keep[[0, -1]] = True
    if not keep[1:-1].any():
        keep[:] = True
    return ids[keep]


class Losses(nn.Module):
    """Encoder and heads in one forward pass, which data-parallel training requires.

    Args:
        encoder: The encoder to fine-tune.
        heads: The heads of the tasks that have data.
        objective: Weights, temperature and thresholds.
        price_scale: Mean and standard deviation of the log prices in training.
    """

    def __init__(self, encoder: Encoder, heads: Heads, objective: Objective, price_scale: tuple[float, float]) -> None:
        super().__init__()
        self.encoder, self.heads, self.objective, self.price_scale = encoder, heads, objective, price_scale

    def forward(self, batch: TensorBatch) -> dict[str, Tensor]:
        """Losses by name; ``loss`` is their weighted sum."""
        goal, heads = self.objective, self.heads.tasks
        query = self.encoder(batch.query_ids, batch.query_mask) if len(batch.query_ids) else None
        item = self.encoder(batch.item_ids, batch.item_mask)
        parts: dict[str, tuple[float, Tensor]] = {}
        if "relevance" in heads and query is not None:
            scores = query @ item.T / goal.temperature
            parts["contrastive"] = goal.contrastive_weight, contrastive_loss(scores, batch, goal.positive_relevance)
            predicted = heads["relevance"](query[batch.pair_query], item[batch.pair_item])
            squared = batch.weight * (predicted - batch.relevance) ** 2
            parts["graded"] = goal.graded_weight, squared.mean()
            if goal.order_weight > 0:
                cosine = (query[batch.pair_query] * item[batch.pair_item]).sum(1)
                parts["order"] = goal.order_weight, order_loss(cosine, batch)
        if "price" in heads:
            mean, deviation = self.price_scale
            wanted = (batch.log_price - mean) / deviation
            parts["price"] = goal.price_weight, functional.mse_loss(heads["price"](item[batch.price_item]), wanted)
        if "click" in heads and query is not None:
            logits = heads["click"](query[batch.click_query], item[batch.click_item], batch.log_discount)
            parts["click"] = goal.click_weight, click_loss(logits, batch.outcome, goal.balance_classes)
        total = cast(Tensor, sum(weight * value for weight, value in parts.values()))
        return {"loss": total, **{name: value.detach() for name, (_, value) in parts.items()}}


def contrastive_loss(scores: Tensor, batch: TensorBatch, positive_relevance: float) -> Tensor:
    """InfoNCE of each relevant pair against the negatives of its query, weighted by the grade.

    ``-log exp(s+) / (exp(s+) + sum over negatives exp(s-))``: other positives of the query are not in the sum
    (van den Oord et al. 2018, with several positives a query).

    Args:
        scores: (g, n) cosines over the temperature.
        batch: Gives the pairs, their grades and the negatives.
        positive_relevance: Grade from which a pair is relevant.
    """
    positive = batch.relevance >= positive_relevance
    weight = batch.relevance * positive
    negatives = torch.logsumexp(scores.masked_fill(~batch.negative, _FAR), dim=1)[batch.pair_query]
    own = scores[batch.pair_query, batch.pair_item]
    return (weight * functional.softplus(negatives - own)).sum() / weight.sum().clamp(min=1e-6)


def order_loss(cosine: Tensor, batch: TensorBatch) -> Tensor:
    """Logistic loss of every two judged items of a query in the wrong order, weighted by their difference in grade.

    ``log(1 + exp(-(s_i - s_j) / t))`` for every i graded above j (Burges et al., "Learning to Rank using Gradient
    Descent", ICML 2005): differences between queries do not matter here.

    Args:
        cosine: Cosine of each judged pair (p,).
        batch: Gives each pair's query and grade.
    """
    same = batch.pair_query[:, None] == batch.pair_query[None, :]
    gap = (batch.relevance[:, None] - batch.relevance[None, :]).clamp(min=0) * same
    wrong = functional.softplus((cosine[None, :] - cosine[:, None]) / _ORDER_SCALE)
    return (gap * wrong).sum() / gap.sum().clamp(min=1e-6)


def click_loss(logits: Tensor, outcome: Tensor, balance: bool) -> Tensor:
    """Cross-entropy of clicks and purchases (n, 2); ``balance`` gives yes and no of each the same total weight."""
    if not balance:
        return functional.binary_cross_entropy_with_logits(logits, outcome)
    share = outcome.mean(0, keepdim=True).clamp(0.05, 0.95)  # a batch without a purchase must not divide by zero
    weight = torch.where(outcome > 0, 0.5 / share, 0.5 / (1 - share))
    return functional.binary_cross_entropy_with_logits(logits, outcome, weight=weight)
