import numpy as np
import pytest
import torch
from cka.cka import cka_from_features

from withstand.errors import WithstandError
from withstand.similarity import Correlator, Moments, cka, cka_of_features, gram


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def related(samples=64, seed=0):
    """Features of three layers of one network and two of another, of several widths, some of them alike."""
    x = numbers(samples, 30, seed=seed)
    first = [x, x @ numbers(30, 50, seed=1) + 0.5 * numbers(samples, 50, seed=2), numbers(samples, 20, seed=3) + 3]
    second = [x.relu(), numbers(samples, 4, 6, seed=4)]
    return first, second


def minibatches(features, size):
    """Gram matrices (1, minibatches, size, size)."""
    return torch.stack([gram(part) for part in features.split(size)])[None]


def test_unbiased_is_that_of_pytorch_cka():
    first, second = related()
    flat = [layer.flatten(1) for layer in second]
    found = cka_of_features(first, second)
    assert np.allclose(np.clip(found, 0, 1), cka_from_features(first, flat).numpy(), atol=1e-4)
    assert found.max() > 0.3 and found.min() < 0.1  # else clipping would hide all
    own = cka_of_features(first, first)
    assert np.allclose(np.clip(own, 0, 1), cka_from_features(first, first).numpy(), atol=1e-4)


def test_float32_features_far_from_zero_agree_with_pytorch_cka_in_float64():
    first, second = ([10 + layer.flatten(1) for layer in side] for side in related())
    found = cka_of_features([layer.float() for layer in first], [layer.float() for layer in second])
    assert np.allclose(np.clip(found, 0, 1), cka_from_features(first, second).numpy(), atol=1e-4)


def test_biased_is_the_ratio_of_kornblith_and_others():
    first, second = related()
    x, y = (layer.flatten(1) - layer.flatten(1).mean(0) for layer in (first[1], second[0]))
    expected = (y.T @ x).norm() ** 2 / ((x.T @ x).norm() * (y.T @ y).norm())
    found = cka_of_features(first[1:2], second[:1], unbiased=False)
    assert found.item() == pytest.approx(expected.item(), abs=1e-12)


@pytest.mark.parametrize("unbiased", [False, True])
def test_what_leaves_similarity_as_it_is(unbiased):
    x, other = numbers(40, 30), numbers(40, 8, seed=5) + 0.3 * numbers(40, 30)[:, :8]
    rotation = torch.linalg.qr(numbers(30, 30, seed=6)).Q
    same = [x, x @ rotation, 7 * x, x + numbers(30, seed=7), torch.cat([x, 0 * x], dim=1)]
    assert np.allclose(cka_of_features([x], same, unbiased=unbiased), 1, atol=1e-10)
    with_other = cka_of_features([other], same, unbiased=unbiased)
    assert np.allclose(with_other, with_other[0, 0], atol=1e-10) and with_other[0, 0] < 0.9


def test_the_unbiased_estimator_of_independent_layers_is_near_zero_the_biased_is_not():
    x, y = numbers(1000, 200), numbers(1000, 200, seed=1)
    unbiased, biased = (cka(minibatches(x, 50), minibatches(y, 50), unbiased=choice) for choice in (True, False))
    assert unbiased.low < 0 < unbiased.high and abs(unbiased.value) < 0.02
    assert biased.value > 0.7  # 50 samples in 200 dimensions are nearly orthogonal, whatever they are


def test_the_unbiased_estimator_does_not_depend_on_the_size_of_minibatches():
    x = numbers(1200, 10)
    y = x[:, :5] + 0.8 * numbers(1200, 5, seed=1)
    values = [cka(minibatches(x, size), minibatches(y, size)).value.item() for size in (8, 20, 100, 1200)]
    # 150 minibatches of 8 leave a standard error of 0.02
    assert np.ptp(values) < 0.05
    biased = [cka(minibatches(x, size), minibatches(y, size), unbiased=False).value.item() for size in (8, 1200)]
    assert biased[0] - biased[1] > 0.1


def test_minibatches_are_summed_up_before_the_ratio():
    x, y = numbers(60, 10), numbers(60, 12, seed=1) + numbers(60, 10) @ numbers(10, 12, seed=2)
    peers = [0.0, 0.0, 0.0]
    for a, b in zip(x.split(20), y.split(20), strict=True):
        for index, (one, other) in enumerate(((a, b), (a, a), (b, b))):
            peers[index] += hsic(one @ one.T, other @ other.T)
    expected = peers[0] / np.sqrt(peers[1] * peers[2])
    assert cka(minibatches(x, 20), minibatches(y, 20)).value.item() == pytest.approx(expected, abs=1e-12)


def hsic(k, level):
    """Song et al. (2012), equation 5, as it stands there."""
    n = len(k)
    k, level = (matrix.numpy().copy() for matrix in (k, level))
    np.fill_diagonal(k, 0)
    np.fill_diagonal(level, 0)
    one = np.ones(n)
    middle = (one @ k @ one) * (one @ level @ one) / ((n - 1) * (n - 2))
    return (np.trace(k @ level) + middle - 2 / (n - 2) * (one @ k @ level @ one)) / (n * (n - 3))


def test_intervals_cover_what_they_should():
    truth = cka_of_features(*([layer] for layer in halves(3000, seed=99))).item()
    covered = 0
    for seed in range(100):
        x, y = halves(240, seed=seed)
        found = cka(minibatches(x, 20), minibatches(y, 20))
        covered += bool(found.low <= truth <= found.high)
    # 95 of 100 with a standard deviation of 2.2; the truth is known to 0.01
    assert 88 <= covered <= 100


def halves(samples, seed):
    x = numbers(samples, 6, seed=seed)
    return x, x[:, :3] + 0.7 * numbers(samples, 3, seed=1000 + seed)


def test_one_minibatch_has_no_interval():
    found = cka(minibatches(numbers(20, 5), 20))
    assert found.value.item() == pytest.approx(1) and np.isnan(found.low).all() and np.isnan(found.high).all()


def test_a_layer_that_tells_nothing_apart_has_no_value():
    found = cka_of_features([numbers(10, 4)], [torch.ones(10, 3, dtype=torch.float64)], unbiased=False)
    assert np.isnan(found).all()


def test_bad_input_is_told():
    with pytest.raises(WithstandError, match="needs at least 4 samples in a minibatch, there are 3"):
        cka_of_features([numbers(3, 5)], [numbers(3, 5)])
    with pytest.raises(WithstandError, match="not of the same samples"):
        cka(minibatches(numbers(20, 5), 10), minibatches(numbers(30, 5), 10))


@pytest.mark.parametrize("size", [1, 7, 127, 128, 301])
def test_gram_matrices_are_products(size):
    features = numbers(size, 3, 5)
    assert torch.allclose(gram(features), features.flatten(1) @ features.flatten(1).T, atol=1e-12)


def layers(seed=0, samples=24):
    """Activations of four layers; the third has another size. Samples have means and scales of their own."""
    base = numbers(samples, 6, 5, seed=seed)
    own = 1 + numbers(samples, 1, 1, seed=seed + 1).abs(), 2 * numbers(samples, 1, 1, seed=seed + 2)
    return [base, own[0] * base + own[1], numbers(samples, 3, 4, seed=seed + 3), base.relu() + own[1]]


def correlated(activations, sizes):
    """Moments of minibatches of some sizes, each summed up from batches of five."""
    found, start = [], 0
    for size in sizes:
        correlator = Correlator(len(activations))
        for first in range(start, start + size, 5):
            correlator.add([layer[first : min(first + 5, start + size)] for layer in activations])
        found.append(correlator.moments())
        start += size
    return Moments(*(np.concatenate([getattr(one, name) for one in found]) for name in vars(found[0])))


def test_joint_correlation_is_numpys_over_all_activations():
    activations = layers()
    found = correlated(activations, [12, 12]).pearson("joint")
    same = [0, 1, 3]
    expected = np.corrcoef([activations[index].flatten().numpy() for index in same])
    assert np.allclose(found.value[np.ix_(same, same)], expected, atol=1e-5)  # sums in float32
    assert np.isnan(found.value[2, same]).all() and found.value[2, 2] == pytest.approx(1)


def test_correlation_per_sample_is_the_mean_of_numpys():
    activations = layers()
    found = correlated(activations, [8, 8, 8]).pearson("per_sample")
    same = [0, 1, 3]
    singles = [np.corrcoef([activations[index][sample].flatten().numpy() for index in same]) for sample in range(24)]
    assert np.allclose(found.value[np.ix_(same, same)], np.mean(singles, axis=0), atol=1e-5)
    assert found.value[0, 1] == pytest.approx(1, abs=1e-5)  # only mean and scale of samples differ
    assert correlated(activations, [24]).pearson("joint").value[0, 1] < 0.9
    assert (found.low <= found.value + 1e-9)[np.ix_(same, same)].all()


def test_correlation_of_a_layer_that_never_changes_is_undefined():
    constant = [numbers(8, 4), torch.ones(8, 4, dtype=torch.float64)]
    assert np.isnan(correlated(constant, [8]).pearson("joint").value[0, 1])
