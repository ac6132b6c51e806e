"""Pictures of the most exposed samples: the right ones, small, once each, and only where they may be shown."""

import base64
import io
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from well_formed import Page

from raybench import data
from raybench.report.html import RunFrames, as_html
from raybench.report.html.thumbnails import BUDGET, Pictures, thumbnails
from raybench.report.predicted_classes import predicted_classes
from raybench.storage import tables
from raybench.storage.store import Store

GOOD = (0.872, 0.992, 0.885, 0.535, 0.705, 0.855, 0.93)
MANIFEST = {
    "raybench": "0.1.0",
    "raybench_commit": None,
    "packages": {},
    "host": {"system": "Linux", "cpus": 2, "gpus": []},
    "started": "2026-01-01",
    "experiment": "name: made_up\ndata:\n  dataset: digits\n",
    "sweep": {},
}
NAMES = ("zero", "one", "t<b>wo")


def picture(sample):
    return np.full((8, 8, 1), sample, dtype=np.uint8)


@pytest.fixture(scope="module")
def run(make_run):
    made = make_run({"good": [GOOD] * 2})
    rows = [
        {"method": method, "id": n, "exposure": n / 30, "confidence": 0.0}
        | {"original_confidence": 5.0, "retrained_confidence": -5.0}
        for method in ("original", "good")
        for n in range(30)
    ]
    models = ("original", "good", "retrained")
    predicted = [{"method": m, "id": n, "predicted": models.index(m)} for m in models for n in range(30)]
    return RunFrames(
        "made_up",
        made.board(),
        MANIFEST,
        made.metrics,
        made.models,
        made.trials,
        exposure=tables.table("exposure", rows).to_pandas(),
        predicted=pd.DataFrame(predicted),
        pictures=Pictures(NAMES, np.arange(30) % 3, picture),
    )


def test_a_picture_is_that_of_the_sample_and_is_stored_once():
    pictures = Pictures(NAMES, np.zeros(9, dtype=np.int64), lambda sample: picture(10 * sample))
    small = thumbnails(pictures, [3, 5, 3])
    assert small.ids == {3, 5}
    stored = dict(re.findall(r'\.sample-(\d+) \{[^"]*"data:image/png;base64,([^"]+)"', small.style))
    images = {sample: Image.open(io.BytesIO(base64.b64decode(text))) for sample, text in stored.items()}
    assert {sample: image.getextrema() for sample, image in images.items()} == {"3": (30, 30), "5": (50, 50)}
    assert small.show(4) == ""


def test_large_images_are_scaled_down_and_keep_their_shape():
    wide = np.zeros((300, 600, 3), dtype=np.uint8)
    style = thumbnails(Pictures(NAMES, np.zeros(1), lambda sample: wide), [0]).style
    content = base64.b64decode(re.search(r'data:image/jpeg;base64,([^"]+)', style)[1])
    assert Image.open(io.BytesIO(content)).size == (64, 32)


def test_pictures_stop_where_the_page_is_full():
    noise = np.random.default_rng(0)
    pictures = Pictures(NAMES, np.zeros(1), lambda sample: noise.integers(0, 256, (64, 64, 3)).astype(np.uint8))
    small = thumbnails(pictures, range(2000))
    assert 100 < len(small.ids) < 1000
    assert len(small.style) < 1.1 * BUDGET


def test_the_page_shows_pictures_labels_and_what_models_say(run):
    text = as_html(run)
    page = Page(text)
    assert text.count(".sample-29 {") == 1
    assert len(re.findall(r'class="thumbnail sample-29"', text)) == 2  # the worst of both methods
    assert "sample-21 " not in text  # the ninth: eight are shown
    assert "t<b>wo" in page.text
    row = re.search(r"<tr><td><span[^>]*sample-29.*?</tr>", text[text.index("good: 15 of 30") :])[0]
    cells = ["29", "t&lt;b&gt;wo", "97 %", "&gt; 99 %, says zero", "50 %, says one", "&lt; 1 %, says t&lt;b&gt;wo"]
    assert re.findall(r"<td>([^<]+)</td>", row) == cells


def test_pictures_that_may_not_be_shown_are_left_out_with_a_hint(run):
    hidden = replace(run, pictures=replace(run.pictures, read=None))
    text = as_html(hidden)
    assert "data:image" not in text
    assert "raybench report RUN --thumbnails" in text
    assert "says one" in Page(text).text
    without = as_html(replace(run, pictures=None, predicted=None))
    assert "--thumbnails" not in without
    assert "says" not in Page(without).text


def test_only_public_data_without_faces_is_shown_by_default():
    shown = {name for name in data.names() if data.may_be_shown(name)}
    assert shown == {"cifar10", "cub200", "digits", "fashion_mnist", "mnist", "office_home"}


def test_predicted_classes_are_those_of_the_first_run_of_each_method(tmp_path):
    store = Store(str(tmp_path))
    models = pd.DataFrame(
        [
            ("o1", "original", "original", 1, 0),
            ("o0", "original", "original", 0, 0),
            ("r2", "retrained", "retrained", 0, 2),
            ("r1", "retrained", "retrained", 0, 1),
            ("g9", "unlearned", "good", 0, 9),
            ("g8", "unlearned", "good", 0, 8),
        ],
        columns=["model", "kind", "method", "original", "seed"],
    ).assign(status="finished")
    for place, model in enumerate(models.model):
        logits = np.eye(6, dtype=np.float32)[[place, 0]].tolist()
        common = {"model": model, "split": "forget", "label": 0, "features": [0.0]}
        rows = [{**common, "id": 7 + n, "logits": logits[n]} for n in range(2)]
        store.write_table(f"run/tables/predictions/{model}-forget-aa-0.parquet", tables.table("predictions", rows))
    found = predicted_classes(store, "run", models)
    assert found[found.id == 7].set_index("method").predicted.to_dict() == {"original": 1, "retrained": 3, "good": 5}
    assert set(found[found.id == 8].predicted) == {0}
