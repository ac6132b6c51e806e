"""The images of a run for its report: read from the store, and shown only if that is allowed."""

import numpy as np
import pytest

from raybench.errors import UserError
from raybench.scenario.pictures import open_pictures
from raybench.storage.store import Store


@pytest.fixture
def manifest(trained):
    scenario = trained.scenario
    return {"experiment": "data: {dataset: digits}", "artifacts": {"data": scenario.data_key}}


def test_pictures_are_the_images_of_the_store(trained, manifest):
    pictures = open_pictures(trained.scenario.store, manifest)
    images = trained.scenario.data()
    assert (pictures.read(5) == images.pixels[5]).all()
    assert np.array_equal(pictures.labels, images.labels)
    assert pictures.class_names == images.class_names


def test_people_and_data_of_your_own_are_shown_on_request_only(trained, manifest):
    faces = {**manifest, "experiment": "data: {dataset: mufac}"}
    assert open_pictures(trained.scenario.store, faces).read is None
    assert open_pictures(trained.scenario.store, faces, show=True).read is not None
    assert open_pictures(trained.scenario.store, manifest, show=False).read is None


def test_images_that_are_not_here_are_left_out_unless_requested(tmp_path, manifest):
    store = Store(str(tmp_path))
    assert open_pictures(store, manifest) is None
    with pytest.raises((UserError, OSError)):
        open_pictures(store, manifest, show=True)
