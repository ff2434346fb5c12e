import numpy as np
import pytest
from datasketch import MinHash
from hypothesis import given
from hypothesis import strategies as st

from neurocarto.records import TopActivations, joined
from neurocarto.summarisation.candidates import candidate_pairs, signatures
from neurocarto.summarisation.similarity import Stimuli, find_stimuli, peak_agreement, similarities


def _top(peaks: list[list[float]], images: list[list[int]]) -> TopActivations:
    values, ids = np.array(peaks, np.float32), np.array(images, np.int32)
    half = np.full(values.shape, 0.5, np.float32)
    return TopActivations(values, values, ids, half, half)


def _stimuli(images: list[list[int]], weights: list[list[float]], rows: list[list[float]]) -> Stimuli:
    lengths = np.linalg.norm(weights, axis=1, keepdims=True)
    return Stimuli(
        np.array(images, np.int32),
        (np.array(weights) / lengths).astype(np.float32),
        np.array(rows, np.float32),
        np.zeros(np.shape(rows), np.float32),
    )


PAIR = np.array([[0, 1]])
ALIKE = np.ones((2, 1), np.float32)
"""Vectors of two neurons that vary together on the common axes."""


def test_weights_are_what_exceeds_the_next_best_image():
    stimuli = find_stimuli(_top([[5, 3, 2, 1]], [[7, 4, 9, 2]]), image_count=20, share=0.1)
    assert stimuli.images.tolist() == [[4, 7]]  # in rising order of image
    assert stimuli.weights[0] * np.sqrt(1 + 9) == pytest.approx([1, 3])  # above the third, of strength 2


def test_fewer_active_images_than_asked_for_leave_gaps_in_front():
    stimuli = find_stimuli(_top([[5, 3, 0, 0]], [[7, 4, -1, -1]]), image_count=30, share=0.1)
    assert stimuli.images.tolist() == [[-1, 4, 7]]
    assert stimuli.weights[0, 0] == 0
    assert stimuli.alive.tolist() == [True]


def test_a_neuron_that_fires_equally_everywhere_has_no_stimuli():
    stimuli = find_stimuli(_top([[2, 2 - 1e-5, 2 - 2e-5, 2 - 3e-5], [0] * 4], [[7, 4, 9, 2], [-1] * 4]), 20, 0.1)
    assert stimuli.alive.tolist() == [False, False]


@given(st.lists(st.lists(st.integers(-1, 2**31 - 1), min_size=4, max_size=4), max_size=5), st.integers(0, 2**31))
def test_signatures_are_those_of_datasketch(rows: list[list[int]], seed: int):
    images = np.array(rows, np.int32).reshape(-1, 4)
    mine = signatures(images, permutations=64, seed=seed)
    sets = [row[row >= 0].astype(np.uint32) for row in images]
    theirs = MinHash.bulk(sets, num_perm=64, seed=seed, hashfunc=int, scheme="affine32")
    assert mine.tolist() == [minhash.hashvalues.tolist() for minhash in theirs]


@given(st.sets(st.integers(0, 10**6), min_size=1, max_size=100), st.integers(0, 2**31))
def test_identical_sets_always_match(images: set[int], seed: int):
    row = np.array([sorted(images)] * 2, np.int32)
    signature = signatures(row, permutations=32, seed=seed)
    assert np.array_equal(signature[0], signature[1])
    assert candidate_pairs(signature, band_rows=2).tolist() == [[0, 1]]


def test_equal_entries_estimate_the_jaccard_similarity():
    rng = np.random.default_rng(0)
    shared, own = rng.permutation(10**6)[:60], rng.permutation(10**6)[60:140]
    rows = np.stack([np.r_[shared, own[:40]], np.r_[shared, own[40:]]]).astype(np.int32)
    signature = signatures(rows, permutations=2048, seed=1)
    jaccard = 60 / 140
    assert (signature[0] == signature[1]).mean() == pytest.approx(jaccard, abs=3 * np.sqrt(jaccard / 2048))


def test_candidates_are_all_pairs_that_agree_in_a_band():
    rng = np.random.default_rng(0)
    signature = rng.integers(0, 4, (30, 12)).astype(np.uint32)
    bands = signature.reshape(30, 6, 2)
    expected = {(a, b) for a in range(30) for b in range(a + 1, 30) if (bands[a] == bands[b]).all(axis=1).any()}
    assert set(map(tuple, candidate_pairs(signature, band_rows=2).tolist())) == expected


def test_no_candidates_among_different_rows():
    assert candidate_pairs(np.arange(8, dtype=np.uint32).reshape(4, 2), 2).shape == (0, 2)


@pytest.mark.parametrize(
    ("rows", "agreement", "expected"),
    [
        ([[1, 2], [1, 2]], 0.5, 1.0),  # same images, same places
        ([[1, 2], [3, 4]], 0.0, np.sqrt(np.exp(-1))),  # two cells apart, width one: exp(-4 / 4)
        ([[1, 2], [3, 4]], 0.5, 0.0),  # and below the agreement asked for
    ],
)
def test_similarity_of_the_same_images(rows, agreement, expected):
    stimuli = _stimuli([[3, 9], [3, 9]], [[1, 2], [1, 2]], rows)
    assert similarities(stimuli, ALIKE, PAIR, 1.0, agreement) == pytest.approx([expected], abs=1e-6)


def test_similarity_is_the_cosine_of_the_weights_on_common_images():
    stimuli = _stimuli([[3, 9], [9, 11]], [[3, 4], [1, 0]], [[0, 0], [0, 0]])
    assert similarities(stimuli, ALIKE, PAIR, 1.0, 0.0) == pytest.approx([np.sqrt(0.8)])


@pytest.mark.parametrize(("cosine", "expected"), [(0.64, 0.8), (-0.5, 0.0)])
def test_similarity_falls_with_the_cosine_on_the_common_axes(cosine, expected):
    stimuli = _stimuli([[3, 9], [3, 9]], [[1, 2], [1, 2]], [[1, 2], [1, 2]])
    vectors = np.array([[1, 0], [cosine, np.sqrt(1 - cosine**2)]], np.float32)
    assert similarities(stimuli, vectors, PAIR, 1.0, 0.3) == pytest.approx([expected], abs=1e-6)


def test_what_is_strongest_of_two_halves_is_what_is_strongest_of_all():
    rng = np.random.default_rng(0)
    peaks = rng.exponential(1, (5, 40)).astype(np.float32)
    halves = [_strongest(peaks, np.arange(half, 40, 2), 8) for half in (0, 1)]
    found = joined(halves)
    for neuron in range(5):
        count = int((found.images[neuron] >= 0).sum())
        assert count >= 8
        assert found.images[neuron, :count].tolist() == np.argsort(-peaks[neuron])[:count].tolist()
        assert (found.peaks[neuron, count:] == max(half.peaks[neuron, -1] for half in halves)).all()


def _strongest(peaks, images, k):
    order = images[np.argsort(-peaks[:, images], axis=1)[:, :k]]
    best = np.take_along_axis(peaks, order, axis=1)
    return TopActivations(best, best, order.astype(np.int32), 0 * best, 0 * best)


def test_missing_images_are_not_common_ones():
    stimuli = Stimuli(
        *(np.array(a, np.float32) for a in ([[-1, 4]] * 2, [[0, 1], [0, 1]], [[0, 0], [0, 6]], [[0, 0]] * 2))
    )
    stimuli = Stimuli(stimuli.images.astype(np.int32), stimuli.weights, stimuli.rows, stimuli.columns)
    assert peak_agreement(stimuli, PAIR) == (1, 0)


def test_peak_agreement_counts_shared_images_within_a_cell():
    stimuli = _stimuli([[1, 2, 5], [2, 5, 7]], [[1, 1, 1]] * 2, [[0, 1, 4], [2, 6, 0]])
    shared, agreeing = peak_agreement(stimuli, PAIR)
    assert (shared[0], agreeing[0]) == (2, 1)  # image 2: rows 1 and 2; image 5: rows 4 and 6
