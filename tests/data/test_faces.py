import numpy as np
import pytest

from raybench import data as datasets
from raybench.data import fixtures
from raybench.data.reading.decode_dataset import decode_all
from raybench.data.transforms.views import View


def centroid_accuracy(features, labels, train):
    """Return how often the nearest class mean of the training samples is right about the others."""
    classes = np.unique(labels)
    means = np.stack([features[train & (labels == c)].mean(axis=0) for c in classes])
    nearest = classes[((features[~train, None] - means) ** 2).sum(axis=-1).argmin(axis=1)]
    return (nearest == labels[~train]).mean()


@pytest.mark.parametrize(
    ("name", "options", "chance"),
    [
        ("mufac", {}, 1 / 8),
        ("mucac", {"bounds": None, "task": "smiling"}, 1 / 2),
        ("mucac", {"bounds": None, "task": "gender"}, 1 / 2),
        ("agedb", {}, 1 / 10),
    ],
)
def test_what_is_to_be_learned_shows_in_faces_of_people_never_seen(tmp_path, name, options, chance):
    fixtures.write(name, tmp_path / name, images_per_class=8, image_size=24)
    data, _ = decode_all(datasets.load(name, root=tmp_path / name, **options), View(size=24))
    gray = data.pixels.mean(axis=(2, 3))  # (N, 24): the bands lie across
    train = data.groups % 2 == 0
    assert centroid_accuracy(gray, data.labels, train) > chance + 0.3


def test_who_it_is_shows_in_pictures_of_the_same_person(tmp_path):
    fixtures.write("agedb", tmp_path / "agedb", images_per_class=8, identities=16, image_size=24)
    data, _ = decode_all(datasets.load("agedb", root=tmp_path / "agedb"), View(size=24))
    corners = data.pixels[:, :4].mean(axis=(1, 2))  # (N, 3): what is behind the head
    train = np.arange(80) < 48
    assert centroid_accuracy(corners, data.groups, train) > 0.6


def test_the_same_seed_writes_the_same_files_and_another_does_not(tmp_path):
    prints = []
    for i, seed in enumerate((0, 0, 1)):
        fixtures.write("mucac", tmp_path / str(i), images_per_class=1, identities=6, seed=seed, image_size=16)
        prints.append(datasets.load("mucac", root=tmp_path / str(i), bounds=None).images.fingerprint(content=True))
    assert prints[0] == prints[1] != prints[2]
