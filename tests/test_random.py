import numpy as np
import pytest
import torch
from scipy import stats

from withstand import random


def test_key_is_stable_and_distinguishes_types_and_order():
    assert random.key(0, "gaussian_noise", 3, "test-000001", 0) == 0xC5D125A0D7BC1A32B0583DC3E69156A8
    assert random.key("1") != random.key(1)
    assert random.key("a", "b") != random.key("b", "a")
    assert random.key("ab", "c") != random.key("a", "bc")


def test_stream_is_pinned():
    golden = [0.9802056993193041, 0.831545940312766, 0.5208822003714473]
    assert random.Stream(0, "shapetex", "test-000000").uniform(size=3) == pytest.approx(golden, abs=1e-15)


def test_stream_equals_numpys_philox():
    """numpy's own Generator makes the same doubles from the same raw numbers (53 high bits)."""
    ours = random.Stream("x", 7).uniform(size=100)
    numpys = np.random.Generator(np.random.Philox(key=random.key("x", 7))).random(100)
    assert np.array_equal(ours, numpys)


def test_stream_integers_cover_their_range():
    drawn = random.Stream(1).integers(5, size=1000)
    assert set(drawn) == {0, 1, 2, 3, 4}
    assert stats.chisquare(np.bincount(drawn)).pvalue > 1e-4


def test_tensor_numbers_are_pinned():
    """torch's stateless generator is not public yet: a release that changes it must not go unseen."""
    keys = random.tensor_keys(0, "gaussian_noise", 1, ["test-000000"])
    normal = [2.25642395, 0.82497841, -0.6164915, -1.80770123]
    uniform = [0.98797792, 0.79530805, 0.26878506, 0.03532648]
    # float32 resolution; the transform to normal numbers may differ in the last bit between processors
    assert random.normal(keys, (4,))[0].tolist() == pytest.approx(normal, abs=1e-6)
    assert random.uniform(keys, (4,))[0].tolist() == pytest.approx(uniform, abs=1e-7)


@pytest.mark.parametrize("function", [random.normal, random.uniform])
def test_numbers_of_a_sample_do_not_depend_on_its_batch(function):
    ids = [f"test-{number:06d}" for number in range(7)]
    together = function(random.tensor_keys(3, "fog", 2, ids), (3, 8, 8))
    backwards = function(random.tensor_keys(3, "fog", 2, ids[::-1]), (3, 8, 8)).flip(0)
    alone = torch.cat([function(random.tensor_keys(3, "fog", 2, [name]), (3, 8, 8)) for name in ids])
    assert torch.equal(together, backwards)
    assert torch.equal(together, alone)


def test_numbers_do_not_depend_on_threads():
    before = torch.get_num_threads()
    drawn = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            drawn.append(random.normal(random.tensor_keys(3, "fog", 2, ["a", "b"]), (3, 128, 128)))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*drawn)


def test_numbers_have_their_distribution():
    keys = random.tensor_keys(0, "gaussian_noise", 1, ["a", "b"])
    assert stats.kstest(random.normal(keys, (20_000,)).flatten().numpy(), "norm").pvalue > 1e-4
    assert stats.kstest(random.uniform(keys, (20_000,)).flatten().numpy(), "uniform").pvalue > 1e-4


def test_every_part_of_the_key_matters():
    variants = [(0, "fog", 1, 0), (1, "fog", 1, 0), (0, "snow", 1, 0), (0, "fog", 2, 0), (0, "fog", 1, 1)]
    numbers = [random.uniform(random.tensor_keys(s, p, v, ["a"], d), (8,)) for s, p, v, d in variants]
    assert len({tuple(row[0].tolist()) for row in numbers}) == len(variants)
