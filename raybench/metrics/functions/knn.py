"""Exact k nearest neighbors in bounded memory, with an order that does not depend on blocks or shuffling.

Neighbors are ordered by (similarity descending, sample id ascending) and a tied vote goes to the lowest label. A matrix
product in float32 only proposes candidates; similarities are then recomputed pair by pair in float64, where equal rows
get equal scores at any position, and a query whose candidates are not provably complete is searched again. scikit-learn
changes 6 % of its answers when a bank with duplicates is re-ordered.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from raybench.metrics.framework.arrays import Array, Floats, Ints
from raybench.metrics.framework.spec import Estimate
from raybench.metrics.framework.streaming import (
    Accumulator,
    Positions,
    Rows,
    State,
    WholeArrayNeeded,
    mergeable,
)
from raybench.metrics.framework.tensors import (
    as_class_labels,
    as_features,
    divided,
    exponents,
    product,
    squares_overflow,
)
from raybench.metrics.functions.intervals import wilson

DistanceName = Literal["cosine", "euclidean"]

_QUERY_BLOCK, _BANK_BLOCK = 512, 8192  # a 16 MB slab of similarities: within 15 % of the best for any shape
_STREAMED_ROWS = 16_384  # of a bank that streams past: enough that the search, not its finish, takes the time
_GROUP = 64
_SPARE = 4  # candidates beyond k, so that rounding rarely requires a second search


class TopK(NamedTuple):
    """The k nearest rows of the bank for each query, nearest first."""

    similarity: Floats  # (Q, k) float64: cosine, or minus the squared distance
    ids: Ints  # (Q, k)
    labels: Ints  # (Q, k)

    def vote(self, k: int | None = None) -> Ints:
        """Return the most common label of the k nearest (all by default) as (Q,); a tie goes to the lowest label."""
        labels = self.labels[:, :k]
        counts = (labels[:, :, None] == labels[:, None, :]).sum(axis=2)
        winning = counts == counts.max(axis=1, keepdims=True)
        lowest: Ints = np.where(winning, labels, np.iinfo(np.int64).max).min(axis=1)
        return lowest


def knn_predict(
    bank: Array,
    bank_labels: Array,
    queries: Array,
    k: int = 5,
    metric: DistanceName = "cosine",
    *,
    bank_ids: Array | None = None,
) -> Ints:
    """Predict the label of each query (Q,) by the uniform vote of its k nearest rows of the bank."""
    return nearest(bank, bank_labels, queries, k, metric, bank_ids=bank_ids).vote()


def knn_accuracy(
    bank: Array,
    bank_labels: Array,
    queries: Array,
    query_labels: Array,
    k: int = 5,
    metric: DistanceName = "cosine",
    *,
    bank_ids: Array | None = None,
) -> Estimate:
    """Compute the fraction of queries (Q, D) whose label the k nearest rows of the bank (N, D) predict, in 0..1.

    Use penultimate features; on logits it measures the head. Interval: Wilson. Reference: protocol of arXiv 2503.06991
    (k 5, cosine, uniform votes).
    """
    predicted = knn_predict(bank, bank_labels, queries, k, metric, bank_ids=bank_ids)
    correct = predicted == as_class_labels(query_labels, len(predicted), name="query labels")
    return wilson(int(correct.sum()), len(correct))


class _Nearest:
    """The nearest rows of the part of the bank that a piece holds, for all queries."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._k, self._metric = int(settings["k"]), settings["metric"]
        self._waiting: list[tuple[torch.Tensor, np.ndarray, np.ndarray]] = []
        self._best: TopK | None = None
        self._queries: Array = None

    def update(self, arrays: Mapping[str, Any], positions: Positions) -> None:
        self._queries = arrays["queries"]
        rows = as_features(arrays["bank"], name="bank")
        self._waiting.append((rows, as_class_labels(arrays["bank_labels"], len(rows)), positions.rows))
        if sum(len(rows) for rows, _, _ in self._waiting) >= _STREAMED_ROWS:
            self._search()

    def _search(self) -> None:
        bank = torch.cat([rows for rows, _, _ in self._waiting])
        labels, ids = (np.concatenate(parts) for parts in list(zip(*self._waiting))[1:])
        self._waiting.clear()
        k = min(self._k, len(bank))
        found = nearest(bank, labels, self._queries, k, self._metric, bank_ids=ids)
        self._best = found if self._best is None else _merged([self._best, found], self._k)

    def state(self) -> State:
        if self._waiting:
            self._search()
        assert self._best is not None
        return {"similarity": self._best.similarity, "ids": self._best.ids, "labels": self._best.labels}


class _MergeNearest:
    def accumulator(self, function: Callable[..., Any], settings: Mapping[str, Any]) -> Accumulator:
        if settings["bank_ids"] is not None:
            raise WholeArrayNeeded("the rows of a bank that streams past are numbered by their position")
        return _Nearest(settings)

    def result(self, states: Sequence[State], pieces: Sequence[Rows], settings: Mapping[str, Any]) -> TopK:
        k, size = int(settings["k"]), sum(map(len, pieces))
        if not 1 <= k <= size:
            raise ValueError(f"k must lie in 1..{size} (the rows of the bank), got {k}")
        return _merged([TopK(state["similarity"], state["ids"], state["labels"]) for state in states], k)

    def select(self, result: Any, rows: Rows) -> Any:
        raise WholeArrayNeeded("the nearest neighbors are searched in a whole split, not in a part")

    def memory(self, width: int) -> int:
        return 4 * width * _STREAMED_ROWS

    def stored(self, width: int, rows: int, pieces: int, whole: int, settings: Mapping[str, Any]) -> int:
        return 24 * int(settings["k"]) * whole * pieces


def _merged(parts: Sequence[TopK], k: int) -> TopK:
    """Return the k nearest of the nearest in several parts of a bank: by similarity, then by id."""
    similarity, ids, labels = (np.concatenate(arrays, axis=1) for arrays in zip(*parts, strict=True))
    order = np.lexsort((ids, -similarity), axis=1)[:, :k]
    return TopK(*(np.take_along_axis(array, order, axis=1) for array in (similarity, ids, labels)))


@mergeable(_MergeNearest(), whole=("queries",), labels="bank_labels")
def nearest(
    bank: Array,
    bank_labels: Array,
    queries: Array,
    k: int = 5,
    metric: DistanceName = "cosine",
    *,
    bank_ids: Array | None = None,
) -> TopK:
    """Return the k nearest rows of the bank (N, D) for each query (Q, D); one call serves every smaller k (`vote`).

    Unique `bank_ids` (N,) break ties; row numbers by default. The cosine with a zero row is 0. Raise ValueError for
    fewer than k rows, unequal widths, NaN, or labels (N, L).
    """
    rows, points = as_features(bank, name="bank"), as_features(queries, name="queries")
    points = points.to(rows.device)
    labels = as_class_labels(bank_labels, len(rows), name="bank labels")
    ids = np.arange(len(rows)) if bank_ids is None else as_class_labels(bank_ids, len(rows), name="bank ids")
    if rows.shape[1] != points.shape[1]:
        raise ValueError(f"bank has {rows.shape[1]} features and queries {points.shape[1]}")
    if not 1 <= k <= len(rows):
        raise ValueError(f"k must lie in 1..{len(rows)} (the rows of the bank), got {k}")
    if metric not in ("cosine", "euclidean"):
        raise ValueError(f"unknown metric {metric!r} (allowed: cosine, euclidean)")
    if len(np.unique(ids)) != len(ids):
        raise ValueError("bank ids repeat, so they cannot break ties")
    points, rows, exponent = _in_range(points, rows, metric)
    similarity, positions = _search(points, rows, torch.from_numpy(ids).to(rows.device), k, metric)
    chosen = positions.cpu().numpy()
    with np.errstate(over="ignore", under="ignore"):
        return TopK(np.ldexp(similarity.cpu().numpy(), 2 * exponent), ids[chosen], labels[chosen])


def _in_range(queries: torch.Tensor, bank: torch.Tensor, metric: str) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Return queries and bank scaled so that no square overflows or vanishes, and the exponent of a common factor."""
    of_queries, of_bank = exponents(queries), exponents(bank)
    if not squares_overflow(of_queries) and not squares_overflow(of_bank):
        return queries, bank, 0
    if metric == "cosine":
        return divided(queries, of_queries), divided(bank, of_bank), 0
    common = int(max(of_queries.max(), of_bank.max()))
    return divided(queries, common), divided(bank, common), common


def _search(
    queries: torch.Tensor, bank: torch.Tensor, ids: torch.Tensor, k: int, metric: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return float64 similarities and bank positions (Q, k), with ever finer arithmetic until all are certain."""
    similarity = queries.new_empty((len(queries), k), dtype=torch.float64)
    positions = torch.empty((len(queries), k), dtype=torch.int64, device=queries.device)
    pending = torch.arange(len(queries), device=queries.device)
    double = torch.float64 in (bank.dtype, queries.dtype)
    full_single = torch.get_float32_matmul_precision() == "highest"  # lower precision breaks the error bound
    for dtype in (torch.float32, torch.float64):
        if not len(pending) or (dtype == torch.float32 and (double or not full_single)):
            continue
        points = queries[pending]
        proposed, cutoff = _propose(points.to(dtype), bank, min(k + _SPARE, len(bank)), metric)
        blocks = zip(torch.split(points, 16), torch.split(proposed, 16))
        exact = torch.cat([_pairwise(block, bank[candidates], metric) for block, candidates in blocks])
        order = _order(exact, ids[proposed])[:, :k]
        similarity[pending], positions[pending] = exact.gather(1, order), proposed.gather(1, order)
        if proposed.shape[1] < len(bank):
            # a row that was not proposed scored at most the cutoff, up to rounding
            certain = similarity[pending, -1] > cutoff
            pending = pending[~certain]
        else:
            pending = pending[:0]
    for query in pending.tolist():
        point = queries[query : query + 1]
        exact = torch.cat([_pairwise(point, part[None], metric)[0] for part in torch.split(bank, 1024)])
        order = _order(exact[None], ids[None])[0, :k]
        similarity[query], positions[query] = exact[order], order
    return similarity, positions


def _propose(queries: torch.Tensor, bank: torch.Tensor, count: int, metric: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the positions (Q, count) of the largest approximate similarities, and a bound on all others (Q,)."""
    points = _normalized(queries) if metric == "cosine" else queries
    best = points.new_full((len(points), count), -torch.inf)
    where = torch.zeros((len(points), count), dtype=torch.int64, device=points.device)
    largest = 0.0
    for start in range(0, len(bank), _BANK_BLOCK):
        rows = bank[start : start + _BANK_BLOCK].to(points.dtype)
        if metric == "cosine":
            rows = _normalized(rows)
        squares = rows.square().sum(1) if metric == "euclidean" else rows.new_ones(1)
        largest = max(largest, float(squares.max()))
        for first in range(0, len(points), _QUERY_BLOCK):
            block = slice(first, first + _QUERY_BLOCK)
            slab = product(points[block], rows)
            if metric == "euclidean":
                slab = slab.mul_(2).sub_(squares)
            values, index = _largest(slab, min(count, len(rows)))
            pool = torch.cat((best[block], values), dim=1)
            sources = torch.cat((where[block], index + start), dim=1)
            best[block], kept = pool.topk(count, dim=1)
            where[block] = sources.gather(1, kept)
    squared = points.double().square().sum(1)
    # |rounding of a product of D terms| <= D u |q| |x|, u half of eps; the rest covers norms and the last sums
    rounding = torch.finfo(points.dtype).eps * (points.shape[1] + 16) * (squared.sqrt() + largest**0.5) ** 2 / 2
    return where, best[:, -1].double() + rounding - (squared if metric == "euclidean" else 0)


def _largest(slab: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the `count` largest of each row and their columns, from the groups with the largest maxima: 2x topk."""
    groups = slab.shape[1] // _GROUP
    if groups * _GROUP != slab.shape[1] or groups <= 4 * count or slab.device.type != "cpu":
        return slab.topk(count, dim=1)
    grouped = slab.view(len(slab), groups, _GROUP)
    _, chosen = grouped.amax(2).topk(count, dim=1, sorted=False)
    candidates = grouped.gather(1, chosen[:, :, None].expand(-1, -1, _GROUP)).flatten(1)
    values, index = candidates.topk(count, dim=1)
    return values, chosen.gather(1, index // _GROUP) * _GROUP + index % _GROUP


def _normalized(rows: torch.Tensor) -> torch.Tensor:
    norms = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return rows / torch.where(norms > 0, norms, 1)


def _pairwise(queries: torch.Tensor, rows: torch.Tensor, metric: str) -> torch.Tensor:
    """Return float64 similarities (Q, m) of queries (Q, D) to candidate rows (Q, m, D): equal rows, equal values."""
    q, x = queries.double(), rows.double()
    if metric == "euclidean":
        difference = x - q[:, None]
        return -_dots(difference, difference)
    lengths = (_dots(q, q)[:, None] * _dots(x, x)).sqrt()
    return _dots(q[:, None].expand_as(x), x) / torch.where(lengths > 0, lengths, 1)


def _dots(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return products summed over the last axis, each in an order that does not depend on the position of its row."""
    if a.device.type == "cpu":
        return torch.from_numpy(np.einsum("...d,...d->...", a.numpy(), b.numpy()))  # 2.7x multiply and sum
    return (a * b).sum(-1)


def _order(similarity: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Return the columns of each row by (similarity descending, id ascending)."""
    by_id = ids.argsort(dim=1)
    return by_id.gather(1, similarity.gather(1, by_id).argsort(dim=1, descending=True, stable=True))
