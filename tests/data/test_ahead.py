"""One loop over batches: everything that reads streamed images prepares the next batch, and no more than that."""

import itertools
import threading
import time

import numpy as np
import pytest
import torch
from pictures import encode, picture, write_files
from torch import nn

from raybench import methods
from raybench.data.images import IMAGENET_MEAN, IMAGENET_STD, ImageData
from raybench.data.reading.ahead import AHEAD, Ready, prepared
from raybench.data.reading.batches import DatasetSplit, ResidentSplit, iterate
from raybench.data.reading.decode_dataset import decode_all
from raybench.data.reading.decode_image import CorruptImage
from raybench.data.reading.encoded import Encoded
from raybench.data.reading.order import worker_rows
from raybench.data.reading.stream import StreamedSplit
from raybench.data.transforms.views import View
from raybench.engine.audit import measure
from raybench.engine.prediction import predict
from raybench.engine.relearning import relearn
from raybench.engine.training import Recipe, train
from raybench.methods.framework.passes import Passes
from raybench.methods.framework.run import run
from raybench.methods.framework.spec import Settings, check
from raybench.methods.framework.task import UnlearningTask

VIEW = View(size=8, resize=8)
N = 24
BATCH = 3


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    contents = {f"{i:02}.jpg": encode(picture(12 + i, 12, seed=i), "JPEG") for i in range(N)}
    return ImageData(
        images=Encoded.of_files(folder, write_files(folder, contents)),
        labels=np.arange(N) % 2,
        part=np.zeros(N, dtype=np.uint8),
        class_names=("a", "b"),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )


class Watched(StreamedSplit):
    """A streamed split that remembers every batch it started, and how many were open when each was handed out."""

    def __init__(self, data, ids, *, workers=2, **options):
        super().__init__(data, ids, VIEW, workers=workers, **options)
        self.pending, self.open, self.most_open, self.left = [], 0, 0, []

    def start(self, positions, **options):
        pending = super().start(positions, **options)
        self.pending.append(pending)
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        result = pending.result

        def counted():
            self.open -= 1
            self.left.append(self.open)
            return result()

        pending.result = counted
        return pending

    def assert_quiet(self):
        """Nothing is being decoded any more."""
        assert all(future.done() for pending in self.pending for future in pending.futures)


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 2))


def passes_over(forget, retain):
    settings = Settings(batch_size=BATCH)
    return Passes(forget=forget, retain=retain, calibration=None, seed=0, settings=settings, device=torch.device("cpu"))


READERS = {
    "training": lambda f, r: train(model(), r, Recipe(epochs=1, batch_size=BATCH), seed=0),
    "prediction": lambda f, r: predict(model(), r, batch_size=BATCH),
    "audit": lambda f, r: measure(model(), r, batch_size=BATCH),
    "relearning": lambda f, r: relearn(
        model(), r, target_accuracy=1.1, max_epochs=1, batch_size=BATCH, audit_batch_size=BATCH
    ),
    "pass": lambda f, r: list(passes_over(f, r).retain()),
    "rows": lambda f, r: list(passes_over(f, r).retain(rows=np.arange(1, 15))),
    "pairs": lambda f, r: list(passes_over(f, r).paired()),
    "mixed": lambda f, r: list(passes_over(f, r).mixed()),
    "cycled": lambda f, r: list(itertools.islice(passes_over(f, r).cycled("retain"), 9)),
}


@pytest.mark.parametrize("name", READERS)
def test_every_reader_has_the_next_batch_in_preparation_and_never_more(data, name):
    forget, retain = Watched(data, np.arange(6)), Watched(data, np.arange(6, N))
    READERS[name](forget, retain)
    batches = len(retain.left)
    assert batches >= 5
    assert retain.most_open == 1 + AHEAD
    # the last batch of a pass has none after it
    assert sum(retain.left) >= 0.7 * batches
    assert set(retain.left) <= {0, AHEAD}
    for split in (forget, retain):
        split.assert_quiet()


def resident(data, ids, **options):
    return ResidentSplit(decode_all(data, VIEW)[0], ids, **options)


@pytest.mark.parametrize("name", ["pass", "rows", "pairs", "mixed", "audit"])
def test_the_batches_are_those_of_pixels_in_memory(data, name):
    """The loop changes nothing but the time: same rows, same draws, same order as without reading ahead."""
    options = {"augment": ["crop", "flip", "jitter"]}
    ids = np.arange(6), np.arange(6, N)
    ahead = READERS[name](*(Watched(data, part, **options) for part in ids))
    alone = READERS[name](*(Watched(data, part, workers=1, **options) for part in ids))
    memory = READERS[name](*(resident(data, part, **options) for part in ids))
    assert flat(ahead) == flat(alone) == flat(memory)


def flat(value):
    """Return nested results as a list of numbers."""
    if isinstance(value, list | tuple):
        return [number for part in value for number in flat(part)]
    return np.asarray(value, dtype=np.float64).ravel().tolist()


@pytest.mark.parametrize("workers", [1, 2])
def test_several_workers_and_epochs_that_go_on_see_the_pixels_of_one_undisturbed_worker(data, workers):
    split = StreamedSplit(data, np.arange(N), VIEW, augment=["random_resized_crop", "flip"], workers=workers)
    whole = list(iterate(split, batch_size=7, seed=0, epoch=1))
    for rank in range(2):
        own = list(iterate(split, batch_size=7, seed=0, epoch=1, rank=rank, world_size=2, first=1))
        for (x, y), (own_x, own_y) in zip(whole[1:], own, strict=True):
            rows = worker_rows(len(x), rank=rank, world_size=2)
            assert torch.equal(own_x, x[rows])
            assert torch.equal(own_y, y[rows])


def test_splits_in_memory_make_each_batch_when_it_is_due(data):
    split, made = resident(data, np.arange(N)), []
    batch = split.batch
    split.batch = lambda *given, **options: (made.append(1), batch(*given, **options))[1]
    for number, _ in enumerate(iterate(split, batch_size=BATCH, seed=0, epoch=0)):
        assert len(made) == number + 1
    mixed = DatasetSplit(torch.utils.data.TensorDataset(torch.zeros(4, 3, 8, 8), torch.zeros(4, dtype=torch.int64)))
    assert [len(x) for x, _, _ in passes_over(mixed, split).mixed()] == [BATCH] * 9 + [1]


@pytest.mark.parametrize("end", ["close", "error", "forgotten"])
def test_a_loop_that_ends_early_leaves_nothing_running(data, end, monkeypatch):
    split = Watched(data, np.arange(N))
    next(iter(iterate(split, batch_size=BATCH, seed=0, epoch=0)))  # the threads of the process are there from now on
    threads = set(threading.enumerate())
    image = split.image
    monkeypatch.setattr(split, "image", lambda *given: (time.sleep(0.01), image(*given))[1])
    batches = iterate(split, batch_size=8, seed=0, epoch=0)
    next(batches)
    assert not all(future.done() for future in split.pending[-1].futures)
    if end == "close":
        batches.close()
    elif end == "error":
        with pytest.raises(KeyError):
            batches.throw(KeyError)
    else:
        del batches
    split.assert_quiet()
    assert set(threading.enumerate()) == threads


def test_an_image_that_cannot_be_decoded_ends_the_loop_and_what_it_prepares(data, monkeypatch):
    split = Watched(data, np.arange(N))
    image = split.image

    def broken(i, draws, k):
        time.sleep(0.005)
        if i == 4:
            raise CorruptImage("image 4")
        return image(i, draws, k)

    monkeypatch.setattr(split, "image", broken)
    with pytest.raises(CorruptImage):
        measure(model(), split, batch_size=BATCH)
    split.assert_quiet()


def test_what_cannot_be_started_cancels_what_was():
    canceled = []

    class Slow(Ready):
        def cancel(self):
            canceled.append(self.pair)

    def begin(step):
        if step == 2:
            raise RuntimeError("no more")
        return [Slow(step)]

    with pytest.raises(RuntimeError, match="no more"):
        list(prepared(range(5), begin, ahead=2))
    assert canceled == [0, 1]


@pytest.mark.parametrize(("method", "options"), [("neggrad_plus", {"driver": "retain"}), ("finetune", {})])
@pytest.mark.parametrize("stop", ["budget", "hook"])
def test_a_trial_that_is_stopped_leaves_nothing_running(data, method, options, stop):
    forget, retain = Watched(data, np.arange(6)), Watched(data, np.arange(6, N))
    budget = {"max_samples": 20} if stop == "budget" else {}
    arguments, settings = check(method, methods.get(method), {"batch_size": BATCH, "epochs": 3, **options, **budget})
    task = UnlearningTask(
        model(),
        forget=forget,
        retain=retain,
        settings=settings,
        fresh=lambda seed: model(),
        on_epoch=(lambda task, epoch: "collapsed") if stop == "hook" else None,
    )
    outcome = run(methods.get(method), task, arguments)
    assert outcome.stopped
    assert retain.most_open == 1 + AHEAD
    for split in (forget, retain):
        split.assert_quiet()
