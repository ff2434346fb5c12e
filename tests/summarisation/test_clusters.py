from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted import IMAGES, plant
from sklearn.metrics import adjusted_rand_score

from neurocarto.settings import RunSettings
from neurocarto.summarisation import candidates, clusters
from neurocarto.summarisation.axes import placed_vectors
from neurocarto.summarisation.candidates import candidate_pairs, signatures
from neurocarto.summarisation.clusters import find_clusters
from neurocarto.summarisation.embedding import embed
from neurocarto.summarisation.linkage import complete_linkage, strongest
from neurocarto.summarisation.similarity import find_stimuli, similarities, strongest_half

SETTINGS = RunSettings(threads=1)


def _groups(pairs, similarity):
    return [group.tolist() for group in complete_linkage(np.array(pairs), np.array(similarity, float))]


def test_groups_do_not_chain():
    # 0-1-2-3 in a row: each resembles the next, the ends have nothing in common.
    assert _groups([[0, 1], [1, 2], [2, 3]], [0.9, 0.8, 0.7]) == [[0, 1], [2, 3]]


def test_a_group_is_as_similar_as_its_least_similar_members():
    pairs = [[0, 1], [0, 2], [1, 2], [2, 3], [0, 3], [1, 3]]
    # 0 and 1 merge at .9; 2 would join at min(.8, .3) = .3, but takes 3 at .5 first.
    assert _groups(pairs, [0.9, 0.8, 0.3, 0.5, 0.2, 0.1]) == [[0, 1, 2, 3]]
    assert _groups(pairs[:4], [0.9, 0.8, 0.3, 0.5]) == [[0, 1], [2, 3]]


def test_each_neuron_keeps_its_most_similar():
    pairs, values = np.array([(0, 1), (0, 2), (0, 3), (2, 3)]), np.array([0.5, 0.9, 0.7, 0.6])
    kept, similarity = strongest(pairs, values, 1)  # of 0 and 2 the second, of 1 the first, of 3 the third
    assert kept.tolist() == [[0, 1], [0, 2], [0, 3]]
    assert similarity.tolist() == [0.5, 0.9, 0.7]
    assert strongest(pairs, values, 2)[0].tolist() == pairs.tolist()
    assert strongest(pairs[:0], values[:0], 2)[0].shape == (0, 2)


def test_nothing_to_group():
    assert complete_linkage(np.empty((0, 2), np.int64), np.empty(0)) == []


@given(st.integers(0, 10_000))
def test_every_pair_in_a_group_was_a_pair_and_every_neuron_is_in_one_group(seed: int):
    rng = np.random.default_rng(seed)
    pairs = np.array([(a, b) for a in range(12) for b in range(a + 1, 12) if rng.random() < 0.5])
    if not len(pairs):
        return
    groups = complete_linkage(pairs, rng.choice([0.2, 0.4, 0.6], len(pairs)))
    known = set(map(tuple, pairs.tolist()))
    assert all((a, b) in known for group in groups for a in group for b in group if a < b)
    members = np.concatenate(groups)
    assert len(members) == len(set(members.tolist()))
    # No two groups are left that could still be merged.
    assert not any(
        all((min(a, b), max(a, b)) in known for a in one for b in other)
        for i, one in enumerate(groups)
        for other in groups[i + 1 :]
    )


def test_the_order_of_pairs_does_not_matter():
    rng = np.random.default_rng(0)
    pairs = np.array([(a, b) for a in range(30) for b in range(a + 1, 30)])
    similarity = rng.choice(np.linspace(0.1, 1, 5), len(pairs))
    shuffled = rng.permutation(len(pairs))
    one = sorted(g.tolist() for g in complete_linkage(pairs, similarity))
    assert one == sorted(g.tolist() for g in complete_linkage(pairs[shuffled], similarity[shuffled]))


@pytest.mark.parametrize("seed", range(3))
def test_planted_groups_are_recovered_among_noise_and_dead_neurons(seed: int):
    planted = plant(np.random.default_rng(seed), [2, 3, 4, 5, 6, 8, 10, 12, 15, 20] * 2)
    stimuli = find_stimuli(planted.top, IMAGES, SETTINGS.cluster_share)
    cluster, table = find_clusters(stimuli, planted.layers, SETTINGS)
    lonely = np.where(cluster < 0, 10_000 + np.arange(len(cluster)), cluster)
    truth = np.where(planted.concept < 0, 10_000 + np.arange(len(cluster)), planted.concept)
    assert adjusted_rand_score(truth, lonely) >= 0.95
    assert (cluster[planted.concept == -2] == -1).all()
    assert table["size"].tolist() == np.bincount(cluster[cluster >= 0]).tolist()
    assert table.peak_agreement.min() > 0.8


@pytest.mark.parametrize("seed", range(3))
def test_groups_of_all_sizes_that_overlap_on_images_of_unequal_popularity_are_recovered(seed: int):
    sizes = [2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60]
    planted = plant(
        np.random.default_rng(seed), sizes * 2, overlapping=[(3, 15), (6, 18), (9, 21)], skew=10, both=0.02, noise=60
    )
    stimuli = find_stimuli(planted.top, IMAGES, SETTINGS.cluster_share)
    cluster, _ = find_clusters(stimuli, planted.layers, SETTINGS)
    single = planted.concept != -3
    lonely = np.where(cluster < 0, 10_000 + np.arange(len(cluster)), cluster)[single]
    truth = np.where(planted.concept < 0, 10_000 + np.arange(len(cluster)), planted.concept)[single]
    assert adjusted_rand_score(truth, lonely) >= 0.95
    for neuron in np.flatnonzero(~single):  # one of two concepts gets it, or none
        mates = planted.concept[(cluster == cluster[neuron]) & single] if cluster[neuron] >= 0 else []
        assert len(np.unique(mates)) <= 1


def test_candidates_hold_nearly_all_pairs_that_are_similar_enough():
    planted = plant(np.random.default_rng(0), [10] * 30, overlapping=[(a, a + 1) for a in range(0, 30, 2)], skew=10)
    stimuli = find_stimuli(planted.top, IMAGES, SETTINGS.cluster_share)[: 10 * 30]
    vectors = placed_vectors(stimuli, SETTINGS.axes, SETTINGS.place_width, 0)
    pairs = np.argwhere(np.triu(np.ones((len(stimuli),) * 2, bool), 1))
    enough = similarities(stimuli, vectors, pairs, 1.0, SETTINGS.min_agreement) >= SETTINGS.min_similarity
    signature = signatures(strongest_half(stimuli), SETTINGS.permutations, 0)
    found = set(map(tuple, candidate_pairs(signature, SETTINGS.band_rows).tolist()))
    assert enough.sum() > 1000
    assert np.mean([tuple(pair) in found for pair in pairs[enough].tolist()]) >= 0.95


@pytest.mark.parametrize("seed", range(3))
def test_what_occurs_together_at_different_places_is_near_but_not_the_same(seed: int):
    planted = plant(np.random.default_rng(seed), [8] * 12, together=[(0, 1), (2, 3)])
    stimuli = find_stimuli(planted.top, IMAGES, SETTINGS.cluster_share)
    cluster, _ = find_clusters(stimuli, planted.layers, SETTINGS)
    vectors = embed(stimuli, IMAGES, SETTINGS.dimensions, seed=0)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    for a, b in [(0, 1), (2, 3)]:
        one, other = np.flatnonzero(planted.concept == a), np.flatnonzero(planted.concept == b)
        assert not set(cluster[one]) & set(cluster[other])
        assert len(set(cluster[one])) == len(set(cluster[other])) == 1
        # Of each neuron's 15 nearest, all but chance exceptions belong to the two concepts.
        nearest = np.argsort(-vectors[one] @ vectors.T, axis=1)[:, 1:16]
        assert np.isin(planted.concept[nearest], (a, b)).mean() > 0.95


def test_the_same_stimuli_give_the_same_clusters():
    planted = plant(np.random.default_rng(5), [5] * 10)
    stimuli = find_stimuli(planted.top, IMAGES, SETTINGS.cluster_share)
    one, two = (find_clusters(stimuli, planted.layers, SETTINGS) for _ in range(2))
    assert np.array_equal(one[0], two[0])
    assert one[1].equals(two[1])


def _plain_linkage(pairs, similarity):
    """Merge the two groups of highest least similarity, by looking at all of them."""
    value = dict(zip(map(tuple, pairs.tolist()), similarity.tolist(), strict=True))
    groups = [[neuron] for neuron in np.unique(pairs)]
    while True:
        merges = []
        for i, one in enumerate(groups):
            for other in groups[i + 1 :]:
                across = [value.get((min(a, b), max(a, b)), -1) for a in one for b in other]
                merges.append((-min(across), min(*one, *other), max(min(one), min(other)), one, other))
        best = min(merges, default=(1,))
        if best[0] > 0:
            return sorted(sorted(group) for group in groups if len(group) > 1)
        groups = [group for group in groups if group not in best[3:]] + [best[3] + best[4]]


@pytest.mark.parametrize("seed", range(4))
def test_compiled_linkage_is_complete_linkage(seed: int):
    rng = np.random.default_rng(seed)
    pairs = np.array([(a, b) for a in range(20) for b in range(a + 1, 20) if rng.random() < 0.6])
    for similarity in (rng.random(len(pairs)), rng.choice([0.25, 0.5, 0.75], len(pairs))):
        assert _groups(pairs, similarity) == _plain_linkage(pairs, similarity)


@pytest.mark.parametrize("few", [0, 10_000])
def test_large_layers_and_any_number_of_threads_give_the_planted_groups(monkeypatch: pytest.MonkeyPatch, few: int):
    for module in (candidates, clusters):
        monkeypatch.setattr(module, "FEW", few)
    planted = plant(np.random.default_rng(0), [3, 5, 8, 12, 20] * 4)
    stimuli = find_stimuli(planted.top, IMAGES, SETTINGS.cluster_share)
    found = [find_clusters(stimuli, planted.layers, replace(SETTINGS, threads=threads)) for threads in (1, 3)]
    assert np.array_equal(found[0][0], found[1][0])
    assert found[0][1].equals(found[1][1])
    members = planted.concept >= 0
    assert adjusted_rand_score(planted.concept[members], found[0][0][members]) >= 0.95
