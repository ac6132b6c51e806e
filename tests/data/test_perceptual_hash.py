import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from raybench import data as datasets
from raybench.data import fixtures
from raybench.data.fixtures.pictures import picture
from raybench.data.images import LEFT_OUT, TEST, TRAIN
from raybench.data.perceptual_hash import cross_role_pairs, deduplicate, equal_pairs, hash_of, hashes, is_near
from raybench.data.reading.encoded import Encoded
from raybench.errors import UserError


def pictures(n=12, size=(48, 40)):
    return np.stack([picture(i, np.random.default_rng(i), size=size) for i in range(n)])


def slow_hash(image):
    """Return the hash by the formula, one coefficient and one bit after the other."""
    gray = np.asarray(Image.fromarray(image).convert("L").resize((32, 32), Image.Resampling.LANCZOS), dtype=float)
    low = [
        4
        * sum(
            gray[y, x] * math.cos(math.pi * u * (2 * y + 1) / 64) * math.cos(math.pi * v * (2 * x + 1) / 64)
            for y in range(32)
            for x in range(32)
        )
        for u in range(8)
        for v in range(8)
    ]
    median = (sorted(low)[31] + sorted(low)[32]) / 2
    return int("".join("1" if value > median else "0" for value in low), 2)


def test_the_hash_is_that_of_the_formula():
    for image in pictures(3):
        assert hash_of(image) == slow_hash(image)
        assert hash_of(image).bit_count() == 32


def test_a_copy_that_was_scaled_or_compressed_stays_near_and_other_pictures_are_far():
    images = pictures(size=(96, 80))
    plain = [hash_of(image) for image in images]
    half = [hash_of(np.asarray(Image.fromarray(image).resize((40, 48), Image.Resampling.LANCZOS))) for image in images]
    assert max((a ^ b).bit_count() for a, b in zip(plain, half)) <= 6
    apart = [(a ^ b).bit_count() for i, a in enumerate(plain) for b in plain[:i]]
    assert min(apart) > 6


def test_arrays_and_files_of_the_same_pixels_hash_alike_in_the_order_asked(make_data, tmp_path):
    images = pictures()
    for i, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    data = make_data(12, size=8)
    arrays = replace(data, images=images)
    files = replace(data, images=Encoded.of_files(tmp_path, [f"{i}.png" for i in range(12)]))
    ids = np.array([7, 2, 2, 11])
    expected = np.array([hash_of(images[i]) for i in ids], dtype=np.uint64)
    np.testing.assert_array_equal(hashes(arrays, ids), expected)
    np.testing.assert_array_equal(hashes(files, ids, workers=3), expected)
    assert hashes(arrays, ids).dtype == np.uint64


def test_gray_arrays_are_hashed_as_they_are(make_data):
    data = make_data(4, channels=1, size=32)
    color = np.repeat(data.images, 3, axis=3)
    np.testing.assert_array_equal(hashes(data, np.arange(4)), [hash_of(image) for image in color])


def test_a_corrupt_file_is_named(make_data, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing more")
    data = replace(make_data(1), images=Encoded.of_files(tmp_path, ["broken.jpg"]))
    with pytest.raises(UserError, match=r"broken\.jpg"):
        hashes(data, np.array([0]))


few = st.lists(st.integers(0, 5), max_size=12).map(lambda values: np.array(values, dtype=np.uint64))


@settings(max_examples=60, deadline=None)
@given(a=few, b=few)
def test_equal_pairs_are_those_of_a_double_loop(a, b):
    expected = [[i, j] for i in range(len(a)) for j in range(len(b)) if a[i] == b[j]]
    assert equal_pairs(a, b).tolist() == expected


@settings(max_examples=60, deadline=None)
@given(a=few, wanted=few, distance=st.integers(0, 4))
def test_within_counts_differing_bits(a, wanted, distance):
    expected = [any((int(x) ^ int(y)).bit_count() <= distance for y in wanted) for x in a]
    assert is_near(a, wanted, distance).tolist() == expected


def with_copies(make_data, n, copies, *, part=None):
    data = replace(make_data(n, size=8), images=pictures(n))
    for original, *others in copies:
        for i in others:
            data.images[i] = data.images[original]
    return data if part is None else replace(data, part=np.array(part, dtype=np.uint8))


def test_pictures_shared_by_roles_are_counted_pair_by_pair_with_examples(make_data):
    data = with_copies(make_data, 12, [(0, 1, 6, 7, 8), (3, 9)])
    roles = {"forget": np.array([0, 1, 2]), "retain": np.array([3, 4, 5]), "unseen": np.array([6, 7, 8, 9, 10])}
    found = {(twins.first, twins.second): twins for twins in cross_role_pairs(data, roles)}
    assert {pair: twins.pairs for pair, twins in found.items()} == {("forget", "unseen"): 6, ("retain", "unseen"): 1}
    assert found["forget", "unseen"].examples.tolist() == [[0, 6], [0, 7], [0, 8], [1, 6], [1, 7]]
    assert found["retain", "unseen"].examples.tolist() == [[3, 9]]


def test_of_equal_pictures_the_smallest_id_stays_within_and_across_parts(make_data):
    data = with_copies(make_data, 10, [(1, 2, 8), (5, 9), (0, 4)], part=[TRAIN] * 5 + [TEST] * 5)
    clean, left_out = deduplicate(data)
    assert left_out.tolist() == [2, 4, 8, 9]
    assert np.flatnonzero(clean.part == LEFT_OUT).tolist() == [2, 4, 8, 9]
    assert data.part.tolist() == [TRAIN] * 5 + [TEST] * 5
    again, none = deduplicate(clean)
    assert len(none) == 0
    np.testing.assert_array_equal(again.part, clean.part)


def test_a_sample_that_is_left_out_already_keeps_no_other_from_staying(make_data):
    data = with_copies(make_data, 6, [(0, 3)], part=[LEFT_OUT] + [TRAIN] * 5)
    clean, left_out = deduplicate(data)
    assert left_out.tolist() == []
    assert clean.part.tolist() == [LEFT_OUT] + [TRAIN] * 5


def test_pictures_that_leak_from_training_to_unseen_are_found_in_files(tmp_path):
    fixtures.write("mufac", tmp_path / "mufac", images_per_class=2, image_size=48, leaks=3)
    data = datasets.load("mufac", root=tmp_path / "mufac")
    parts = {name: np.flatnonzero(data.part == part) for part, name in enumerate(("train", "test", "unseen"))}
    leaks = {(twins.first, twins.second): twins for twins in cross_role_pairs(data, parts)}
    assert [[int(a), int(b)] for a, b in leaks["train", "unseen"].examples[:3]] == [[0, 32], [1, 33], [2, 34]]
    clean, left_out = deduplicate(data)
    assert {32, 33, 34} <= set(left_out.tolist())
    assert cross_role_pairs(clean, {name: ids[clean.part[ids] != LEFT_OUT] for name, ids in parts.items()}) == []
