"""The samples behind what users of torch have: a data set, a DataLoader, or arrays of images and labels."""

from collections.abc import Iterable, Iterator, Sized
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    TensorDataset,
)

from raybench.errors import UserError

BATCH_SIZE = 256
TAKES = (
    "a torch data set with __len__ and __getitem__ that returns (x, y), a DataLoader of batches (x, y), or a tuple "
    "(x, y) of arrays"
)


def samples_of(data: Any, role: str) -> Any:
    """Return the map-style data set of (x, y) that `data` reads from; `role` names it in messages.

    Of a DataLoader this is its data set, in the order of the data set; with a sampler that selects samples, the subset
    it selects. Shuffling, `drop_last`, batch size, workers and `collate_fn` are left out. A tuple of arrays becomes a
    TensorDataset, and other data sets are returned as they are.

    Raise UserError for what is not a data set, and for loaders that repeat samples or have no fixed set of them.
    """
    if isinstance(data, DataLoader):
        return _behind(data, role)
    if is_arrays(data):
        return TensorDataset(*(torch.as_tensor(part) for part in data))
    if isinstance(data, Iterator):
        raise UserError(f"{role}: a {type(data).__name__} can be read only once (allowed: {TAKES})")
    if isinstance(data, IterableDataset):
        raise UserError(f"{role}: {type(data).__name__} is an IterableDataset without fixed samples (allowed: {TAKES})")
    if not isinstance(data, Sized) or not hasattr(data, "__getitem__") or isinstance(data, str | bytes | dict | Tensor):
        raise UserError(f"{role} is a {type(data).__name__}, which is not a data set (allowed: {TAKES})")
    return data


def with_labels(samples: Any, role: str) -> Any:
    """Return the data set after a look at its first sample, which must be (x, y); the random state is restored."""
    if len(samples):
        with torch.random.fork_rng(devices=[]):
            sample = samples[0]
        if not isinstance(sample, tuple | list) or len(sample) != 2:
            raise UserError(
                f"{role}: a sample is {_described(sample)}; it must be (x, y), an image tensor and its label"
            )
        if not isinstance(sample[0], Tensor):
            raise UserError(f"{role}: the image of a sample is a {type(sample[0]).__name__}; it must be a tensor")
    return samples


def is_arrays(data: Any) -> bool:
    """Return whether `data` is a tuple (x, y) of a tensor or array of images and one of their labels."""
    if not (isinstance(data, tuple) and len(data) == 2 and all(isinstance(part, Tensor | np.ndarray) for part in data)):
        return False
    return data[0].ndim > 1 and data[1].ndim > 0 and len(data[0]) == len(data[1])


def _behind(loader: DataLoader[Any], role: str) -> Any:
    """Return the samples that a loader draws, once each and in the order of its data set."""
    if isinstance(loader.dataset, IterableDataset):
        raise UserError(
            f"{role}: the DataLoader reads {type(loader.dataset).__name__}, an IterableDataset without fixed samples "
            f"(allowed: {TAKES})"
        )
    custom = loader.batch_size is None and loader.batch_sampler is not None
    sampler: Any = loader.batch_sampler if custom else loader.sampler
    if custom and type(sampler) is BatchSampler:  # it says no more than its own sampler
        custom, sampler = False, sampler.sampler
    if isinstance(sampler, SequentialSampler):
        return loader.dataset
    if isinstance(sampler, RandomSampler) and not sampler.replacement and len(sampler) == len(sampler.data_source):
        return loader.dataset
    with torch.random.fork_rng(devices=[]):
        drawn = [int(i) for batch in sampler for i in batch] if custom else [int(i) for i in sampler]
    rows = sorted(set(drawn))
    if len(rows) < len(drawn):
        raise UserError(
            f"{role}: the {type(sampler).__name__} of the DataLoader draws samples more than once ({len(drawn)} draws, "
            f"{len(rows)} samples); pass its data set, or a DataLoader without it"
        )
    return Subset(loader.dataset, rows)


def batches(data: Any, role: str, *, batch_size: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches (x, y) in one pass over the samples, in the order of the data set.

    A DataLoader keeps its batch size (unless `batch_size` is set), workers and `collate_fn`; the order is that of
    `samples_of`. A loader of an IterableDataset, or one without batching, is read as it is.

    Raise UserError for an empty set, for samples that are not pairs, and where reading or stacking them fails.
    """
    iterator = iter(_batches_of(data, role, batch_size))
    for number in range(1 << 62):
        try:
            batch = next(iterator)
        except StopIteration:
            if number == 0:
                raise UserError(f"{role} is empty") from None
            return
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"{role}: batch {number} cannot be read: {type(error).__name__}: {error} (a sample is a tensor or "
                "array and its label; images of PIL need a transform to tensors)"
            ) from error
        yield pair(batch, role)


def _batches_of(data: Any, role: str, batch_size: int | None) -> Iterable[Any]:
    if not isinstance(data, DataLoader):
        return DataLoader(samples_of(data, role), batch_size=batch_size or BATCH_SIZE)
    if isinstance(data.dataset, IterableDataset) or (data.batch_size is None and data.batch_sampler is None):
        return data
    return DataLoader(
        samples_of(data, role),
        batch_size=batch_size or data.batch_size or BATCH_SIZE,
        num_workers=data.num_workers,
        collate_fn=data.collate_fn,
        worker_init_fn=data.worker_init_fn,
        multiprocessing_context=data.multiprocessing_context,
    )


def pair(batch: Any, role: str) -> tuple[Tensor, Tensor]:
    """Return a batch as tensors x (N, ...) and y: classes (N,) int64, or labels (N, L) of 0 and 1 as float32."""
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        raise UserError(f"{role}: a batch is {_described(batch)}; it must be (x, y), images and their labels")
    x, y = batch
    if not isinstance(x, Tensor) or not isinstance(y, Tensor | list | tuple | np.ndarray):
        raise UserError(
            f"{role}: a batch holds a {type(x).__name__} and a {type(y).__name__}; x must be a tensor, y labels"
        )
    try:
        labels = torch.as_tensor(y)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{role}: its labels are not numbers: {error}") from error
    if labels.ndim not in (1, 2) or len(labels) != len(x):
        raise UserError(
            f"{role}: a batch has {len(x)} images and labels of shape {tuple(labels.shape)}; labels must be (N,) "
            "classes or (N, L) of 0 and 1"
        )
    if labels.ndim == 1 and labels.is_floating_point() and not torch.equal(labels, labels.long().to(labels.dtype)):
        raise UserError(f"{role}: its labels are not whole numbers; a label is the number of a class, from 0")
    return x, labels.long() if labels.ndim == 1 else labels.float()


def _described(value: Any) -> str:
    """Return what a value is, for a message: `a dict of 3`, `a tensor (8, 1, 28, 28)`."""
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)}"
    return f"a {type(value).__name__}{f' of {len(value)}' if isinstance(value, Sized) else ''}"
