"""Damaged and malicious files: a UserError or a result within seconds, little memory, and no code that runs.

The short form runs with the suite. The long form: RAYBENCH_FUZZ_EXAMPLES=5000 pytest -n 0 tests/test_fuzzing.py
"""

import copy
import faulthandler
import io
import json
import os
import pickle
import resource
import shutil
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raybench import data, models
from raybench.config.reading import load_experiment
from raybench.data.files import safe_pickle
from raybench.data.images import TRAIN, ImageData
from raybench.data.packing.pack import pack
from raybench.errors import UserError
from raybench.models.checkpoints import fit_checkpoint, read_checkpoint

EXAMPLES = int(os.environ.get("RAYBENCH_FUZZ_EXAMPLES", "25"))
MOST_SECONDS, MOST_BYTES = 10, 10**9  # of CPU time: on a busy machine, the clock counts others too
ASLEEP_SECONDS = [60.0, 5.0]  # by the clock, for an example that waits: the first, and those that make it smaller
STUCK_SECONDS = 120.0  # by the clock, for native code that never returns: the process ends, and prints the stack
TERMINAL: list[int] = []
pytestmark = pytest.mark.timeout(300 if EXAMPLES <= 100 else 0)  # every example has its own limits
QUICKLY = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=EXAMPLES <= 100,
    suppress_health_check=list(HealthCheck),
)
EXPERIMENT: dict[str, Any] = {
    "name": "tiny",
    "data": {"dataset": "digits", "sizes": {"train": 200}, "mislabel": {"fraction": 0.1}},
    "forget": {"rule": "random", "count": 40},
    "model": {"name": "cnn", "width": 4},
    "train": {"epochs": 2, "lr": 0.1, "retrained_seeds": 2, "milestones": [1, 0.5]},
    "methods": {"finetune": {"lr": {"loguniform": [0.001, 0.1]}}, "scrub": None},
    "sweep": {"trials": 2, "objective": "gap_to_retrained"},
    "evaluate": {"metrics": {"knn": {"k": 3}}, "alphas": [0.1, 0.3], "downstream": {"d": {"dataset": "digits"}}},
    "resources": {"cpus_per_trial": 1},
    "paper": {"table": "mufac_age", "protocol": "released"},
}
NUMBERS = st.sampled_from([0, -1, 1, 2**31, 2**63, 10**30, 0.5, -0.0, 1e308, 1e-320, float("inf"), float("nan")])
TEXTS = st.one_of(
    st.sampled_from(["", "..", "../x", "/", "a" * 300, "[red]", "inf", "~nobody", "os.system", "a..b", "."]),
    st.text(max_size=8),
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)


class Canary:
    """Pickles to a call that would write a file."""

    path = "/nonexistent"

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)


@pytest.fixture(scope="module", autouse=True)
def terminal(request: pytest.FixtureRequest) -> Iterator[None]:
    """Keep the terminal's stderr for the stack of an example that is stuck: the end of the process loses the other."""
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        TERMINAL.append(os.dup(2))
    yield
    os.close(TERMINAL.pop())


@pytest.fixture(scope="module", autouse=True)
def canary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with suppress(UserError):
        models.build("", num_classes=2)  # imports what lists the names: not part of the time of an example
    Canary.path = str(tmp_path_factory.mktemp("canary") / "ran")
    yield
    assert not Path(Canary.path).exists()


@contextmanager
def in_little_memory() -> Iterator[None]:
    """Fail if the block needs more than 1 GB on the way, and let no allocation take the memory of the machine."""
    if not Path("/proc/self/clear_refs").exists():
        yield
        return
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before, limits = memory("VmRSS"), resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (memory("VmSize") + 4 * MOST_BYTES, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    assert memory("VmHWM") - before < MOST_BYTES


def memory(name: str) -> int:
    """Return a number of bytes of this process: `VmRSS` now, `VmHWM` at the peak, `VmSize` of addresses."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


@contextmanager
def awake(limits: list[float]) -> Iterator[None]:
    """Fail if the block takes longer than the first limit by the clock, as one does that waits for a lock or a pipe."""
    started, seconds = time.monotonic(), limits[0]

    def fail(*_: object) -> None:
        limits[:-1] = []
        pytest.fail(f"the example hangs: no end after {seconds:g} seconds")

    handler, (left, _) = signal.signal(signal.SIGALRM, fail), signal.setitimer(signal.ITIMER_REAL, seconds)
    faulthandler.dump_traceback_later(STUCK_SECONDS, exit=True, file=TERMINAL[0])
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, handler)  # of pytest's own limit
        signal.setitimer(signal.ITIMER_REAL, max(0.1, left - time.monotonic() + started) if left else 0)


def survive(call: Callable[[], object]) -> None:
    """Require a result or a UserError of a reasonable length, in time."""
    started, message = time.process_time(), ""
    try:
        with warnings.catch_warnings(), awake(ASLEEP_SECONDS), in_little_memory():
            warnings.simplefilter("ignore")
            call()
    except UserError as error:
        message = str(error)
    assert len(message) < 10_000
    assert time.process_time() - started < MOST_SECONDS


def places(content: Any, key: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for name, value in items:
        yield (*key, name)
        yield from places(value, (*key, name))


def with_value(content: Any, key: tuple[Any, ...], value: Any) -> Any:
    content = copy.deepcopy(content)
    inner = content
    for name in key[:-1]:
        inner = inner[name]
    inner[key[-1]] = value
    return content


def damaged(content: bytes, edits: list[tuple[int, bytes]], end: int) -> bytes:
    """Replace bytes at positions (modulo the length), then cut at `end` (from the end)."""
    changed = bytearray(content)
    for position, replacement in edits:
        position %= max(1, len(changed))
        changed[position : position + len(replacement)] = replacement
    return bytes(changed[: len(changed) - end % max(1, len(changed))] if end else changed)


EDITS = st.lists(st.tuples(st.integers(0, 10**6), st.binary(min_size=1, max_size=9)), max_size=4)
ENDS = st.one_of(st.just(0), st.integers(1, 10**6))


def test_an_example_that_waits_is_a_failure_that_names_it(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    limits = [0.2, 0.1]

    @settings(database=None, max_examples=20)
    @given(number=st.integers(0, 5))
    def hang(number):
        with awake(limits):
            (tmp_path / "pipe").read_bytes() if number == 3 else None

    started = time.monotonic()
    with pytest.raises(pytest.fail.Exception, match="hangs: no end after") as caught:
        hang()
    assert "hang(\n    number=3,\n)" in "".join(caught.value.__notes__)
    assert limits == [0.1]
    assert time.monotonic() - started < 10


@QUICKLY
@given(key=st.sampled_from(list(places(EXPERIMENT))), value=VALUES)
def test_an_experiment_with_any_value_at_any_key(tmp_path_factory, key, value):
    path = tmp_path_factory.getbasetemp() / "fuzzed.yaml"
    path.write_text(yaml.dump(with_value(EXPERIMENT, key, value)), encoding="utf-8")
    survive(lambda: load_experiment(path))


@QUICKLY
@given(edits=EDITS, end=ENDS)
def test_an_experiment_of_any_bytes(tmp_path_factory, edits, end):
    path = tmp_path_factory.getbasetemp() / "fuzzed.yaml"
    path.write_bytes(damaged(yaml.safe_dump(EXPERIMENT).encode(), edits, end))
    survive(lambda: load_experiment(path))


CELLS = st.one_of(
    st.sampled_from(
        [
            "a.png",
            "./a.png",
            "../a.png",
            "/etc/passwd",
            "b.png",
            "0",
            "1",
            "-1",
            "9" * 30,
            "train",
            "test",
            "",
            "x\0y",
            '"',
        ]
    ),
    st.text(max_size=5),
)


@QUICKLY
@given(
    header=st.permutations(["path", "label", "split", "group"]),
    rows=st.lists(st.lists(CELLS, min_size=3, max_size=5), max_size=4),
)
def test_a_manifest_of_any_cells(tmp_path_factory, header, rows):
    root = tmp_path_factory.getbasetemp() / "manifest"
    root.mkdir(exist_ok=True)
    for name in ("a.png", "b.png"):
        (root / name).touch()
    text = "\n".join([",".join(header), *(",".join(row) for row in rows)])
    (root / "m.csv").write_bytes(text.encode("utf-8", "surrogatepass"))
    survive(lambda: data.load("manifest", root=root))
    (root / "list.txt").write_bytes("\n".join(" ".join(row) for row in rows).encode("utf-8", "surrogatepass"))
    survive(lambda: data.load("list_file", root=root))


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3)).astype(np.uint8)
    labels, part = np.arange(6) % 2, np.full(6, TRAIN, dtype=np.uint8)
    folder = tmp_path_factory.mktemp("pack") / "whole"
    pack(ImageData(images, labels, part, ("a", "b"), (0.5,) * 3, (0.2,) * 3), folder)
    return folder


def read_pack(folder: Path) -> None:
    images = data.load("packed", root=folder)
    for i in range(images.num_samples):
        images.images.read(i)


@QUICKLY
@given(draw=st.data())
def test_a_pack_with_any_value_in_its_header_or_index(packed, draw):
    folder = packed.parent / "changed"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(packed, folder)
    meta = json.loads((folder / "meta.json").read_text())
    key = draw.draw(st.sampled_from([*places(meta)]))
    if draw.draw(st.booleans()):
        (folder / "meta.json").write_text(json.dumps(with_value(meta, key, draw.draw(VALUES))))
    else:
        index = pq.read_table(folder / "index.parquet")
        name = draw.draw(st.sampled_from(index.column_names))
        numbers = st.sampled_from([0, 1, -1, 255, 256, 10**6, 2**62, None])
        column = draw.draw(st.sampled_from([pa.int64(), pa.float64(), pa.string()]))
        cells = draw.draw(st.lists(numbers, min_size=index.num_rows, max_size=index.num_rows))
        if column != pa.int64():
            kind = float if column == pa.float64() else str
            cells = [None if cell is None else kind(cell) for cell in cells]
        pq.write_table(
            index.set_column(index.column_names.index(name), name, pa.array(cells, column)), folder / "index.parquet"
        )
    survive(lambda: read_pack(folder))


@QUICKLY
@given(file=st.sampled_from(["meta.json", "index.parquet"]), edits=EDITS, end=ENDS)
def test_a_pack_of_any_bytes(packed, file, edits, end):
    folder = packed.parent / "changed"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(packed, folder)
    (folder / file).write_bytes(damaged((packed / file).read_bytes(), edits, end))
    survive(lambda: read_pack(folder))


BATCH = {"data": np.zeros((3, 3072), np.uint8), "labels": [0, 1, 2]}
OPCODES = st.sampled_from(
    [
        *(
            b"(",
            b")",
            b"}",
            b"]",
            b"t",
            b"l",
            b"d",
            b"s",
            b"u",
            b"a",
            b"e",
            b"0",
            b"2",
            b"R",
            b"b",
            b"\x81",
            b"\x85",
            b"\x86",
        ),
        *(b"h\x00", b"q\x00", b"r\xff\xff\xff\xff", b"\x94", b"K\x01", b"\x8a\xff", b"U\x02ab", b"B\xff\xff\xff\x7f"),
        *(b"cnumpy\nndarray\n", b"cnumpy\ndtype\n", b"cnumpy.core.multiarray\n_reconstruct\n", b"cos\nsystem\n"),
        *(b"c__builtin__\nbytes\n", b"cnumpy.core.multiarray\nscalar\n", b"c_codecs\nencode\n", b"X\x02\x00\x00\x00O8"),
    ]
)


def read_cifar(folder: Path) -> None:
    data.load("cifar10", root=folder)


@QUICKLY
@given(draw=st.data())
def test_a_pickle_of_cifar_of_any_bytes(tmp_path_factory, draw):
    path = tmp_path_factory.getbasetemp() / "cifar"
    path.mkdir(exist_ok=True)
    kind = draw.draw(st.sampled_from(["damaged", "opcodes", "values", "code"]))
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        safe_pickle.save(BATCH, path / name)
    if kind == "damaged":
        content = damaged(pickle.dumps(BATCH, protocol=2), draw.draw(EDITS), draw.draw(ENDS))
    elif kind == "opcodes":
        content = b"\x80\x02" + b"".join(draw.draw(st.lists(OPCODES, max_size=20))) + b"."
    elif kind == "values":
        content = pickle.dumps({**BATCH, draw.draw(st.sampled_from([*BATCH])): draw.draw(VALUES)}, protocol=2)
    else:
        content = pickle.dumps({**BATCH, "x": Canary()}, protocol=draw.draw(st.sampled_from([2, 4])))
    (path / "data_batch_1").write_bytes(content)
    survive(lambda: read_cifar(path))


MODEL = models.build("cnn", num_classes=3, width=2)
CHECKPOINT = models.to_bytes(MODEL)
TENSORS = st.sampled_from(
    [
        torch.zeros(3, 8),
        torch.full((3, 8), torch.nan),
        torch.zeros(1).expand(10**6, 10**6),
        torch.zeros(3, 8).to_sparse(),
        torch.zeros(3, 8, device="meta"),
        torch.zeros(3, 8, dtype=torch.complex64),
        torch.zeros(0),
        torch.tensor(1),
    ]
)


@QUICKLY
@given(draw=st.data())
def test_a_checkpoint_of_any_bytes_or_tensors(tmp_path_factory, draw):
    path = tmp_path_factory.getbasetemp() / "fuzzed.pt"
    kind = draw.draw(st.sampled_from(["damaged", "tensors", "values", "code"]))
    weights: dict[Any, Any] = dict(MODEL.state_dict())
    name = draw.draw(st.sampled_from([*weights, 0, "state_dict", "model"]))
    if kind == "damaged":
        path.write_bytes(damaged(CHECKPOINT, draw.draw(EDITS), draw.draw(ENDS)))
    else:
        value = Canary() if kind == "code" else draw.draw(TENSORS if kind == "tensors" else VALUES)
        buffer = io.BytesIO()
        torch.save({**weights, name: value}, buffer)
        path.write_bytes(buffer.getvalue())
    survive(lambda: fit_checkpoint(MODEL, read_checkpoint(path).weights, name="fuzzed"))
