from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from scipy import special, stats

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
    keys = random.tensor_keys(0, "gaussian_noise", 1, ["test-000000"])
    numbers = [3967162, 12743849, 5240740, 2674059, 16307825]
    assert random.uniform(keys, (5,))[0].tolist() == [number * 2**-24 for number in numbers]
    normal = [-0.717731893, 0.704992712, -0.489136636, -0.996982992, 1.911380410]
    assert random.normal(keys, (5,))[0].tolist() == pytest.approx(normal, abs=DIFFERENCE)


DIFFERENCE = 2e-6
"""Normal numbers of two devices, or of one and the truth: a few roundings of float32 below 8, each 2.4e-7."""

NAMES = [f"test-{number:06d}" for number in range(7)]


def on_a_device(keys: torch.Tensor, count: int) -> torch.Tensor:
    """The numbers as a GPU makes them, here on the CPU."""
    numbers = torch.empty(len(keys), count)
    random._fill_by_torch(numbers, keys)
    return numbers * 2**-24


@pytest.mark.parametrize("count", [0, 1, 2, 7, 8, 9, 1001, 3 * 64 * 64])
def test_torch_and_numpy_make_the_same_bits(count):
    keys = random.tensor_keys(3, "fog", 2, NAMES)
    assert torch.equal(on_a_device(keys, count), random.uniform(keys, (count,)))


@pytest.mark.parametrize("blocks", [1, 5, 38, 100])
def test_memory_does_not_show_in_the_bits(monkeypatch, blocks):
    keys = random.tensor_keys(3, "fog", 2, NAMES)
    monkeypatch.setattr(random, "_BLOCKS_AT_ONCE", blocks)
    assert torch.equal(on_a_device(keys, 301), random.uniform(keys, (301,)))


EXTREME = [0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**63 + 2**31, 2**64 - 2**31, 2**64 - 1]


def test_products_of_any_words_are_exact():
    """Against Python's whole numbers: where halves and sums are largest, and everywhere."""
    words = EXTREME + np.random.default_rng(0).integers(0, 2**64, 1000, dtype=np.uint64).tolist()
    given = torch.tensor(np.array(words, dtype=np.uint64).view(np.int64))
    for by in random._MULTIPLIERS:
        found, *scratch = torch.empty(3, len(words), dtype=torch.int64)
        random._high_half(given, by, found, *scratch)
        assert found.numpy().view(np.uint64).tolist() == [word * by >> 64 for word in words]


@pytest.mark.parametrize("low", EXTREME)
@pytest.mark.parametrize("high", EXTREME)
def test_any_key_gives_numpys_words(low, high):
    keys = torch.tensor(np.array([[low, high]], dtype=np.uint64).view(np.int64))
    first = 2**33  # counters beyond 32 bits
    words = random._philox(keys, first, 3).numpy().view(np.uint64)
    numpys = np.random.Philox(key=low + (high << 64), counter=first).random_raw(12)
    assert words.flatten().tolist() == numpys.tolist()


def test_uniform_numbers_are_numpys_float32():
    """numpy's own Generator makes the same of the same words."""
    ours = random.uniform(random.tensor_keys(3, "fog", 2, ["a"]), (1001,))[0]
    generator = np.random.Generator(np.random.Philox(key=random.key(3, "fog", 2, "a", 0)))
    assert np.array_equal(ours.numpy(), generator.random(1001, dtype=np.float32))


@pytest.fixture(scope="module")
def all_whole() -> torch.Tensor:
    """Every number that there is, before it is scaled: float32 (2**24)."""
    return torch.arange(2**24).float()


def test_every_normal_number_is_right(all_whole):
    expected = torch.from_numpy(special.ndtri(all_whole.double().numpy() / 2**24 + 2**-25)).float()
    assert (random._as_normal(all_whole.clone()) - expected).abs().max() < DIFFERENCE / 2


def test_normal_numbers_without_mkl_are_the_same(monkeypatch, all_whole):
    expected = random._as_normal(all_whole.clone())
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: False)
    assert (random._as_normal(all_whole[::17].clone()) - expected[::17]).abs().max() < DIFFERENCE / 2


@pytest.mark.gpu
def test_a_gpu_makes_every_normal_number(all_whole):
    expected = random._as_normal(all_whole.clone())
    assert (random._as_normal(all_whole.cuda()).cpu() - expected).abs().max() < DIFFERENCE


@pytest.mark.gpu
@pytest.mark.parametrize("shape", [(), (1,), (1001,), (224, 224, 3), (2**24 + 5,)])
def test_a_gpu_makes_the_same_bits(shape):
    on_cpu, on_gpu = (random.tensor_keys(3, "fog", 2, NAMES, 0, device) for device in ("cpu", "cuda"))
    found = random.uniform(on_gpu, shape)
    assert torch.equal(found.cpu(), random.uniform(on_cpu, shape))
    assert torch.equal(random.uniform(on_gpu[2:3], shape), found[2:3])


@pytest.mark.parametrize("function", [random.normal, random.uniform])
def test_numbers_of_a_sample_do_not_depend_on_its_batch(function):
    def drawn(names: list[str]) -> torch.Tensor:
        return function(random.tensor_keys(3, "fog", 2, names), (3, 64, 64))

    together = drawn(NAMES)
    assert torch.equal(together, drawn(NAMES[::-1]).flip(0))
    assert torch.equal(together, torch.cat([drawn([name]) for name in NAMES]))
    with ThreadPoolExecutor(4) as pool:
        assert all(torch.equal(together, other) for other in pool.map(drawn, [NAMES] * 10))


def test_a_shorter_array_has_the_first_numbers_of_a_longer_one():
    keys = random.tensor_keys(3, "fog", 2, NAMES)
    assert torch.equal(random.uniform(keys, (3, 5)).flatten(1), random.uniform(keys, (17,))[:, :15])


def test_numbers_do_not_depend_on_threads():
    before = torch.get_num_threads()
    drawn = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            drawn.append(random.normal(random.tensor_keys(3, "fog", 2, ["a", "b"]), (3, 128, 128)))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(drawn[0], drawn[1]) and torch.equal(drawn[0], drawn[2])


def test_both_halves_of_a_key_matter():
    one = random.tensor_keys(3, "fog", 2, ["a"])
    numbers = [random.uniform(keys, (8,)) for keys in (one, one ^ torch.tensor([1, 0]), one ^ torch.tensor([0, 1]))]
    assert len({tuple(row[0].tolist()) for row in numbers}) == 3


def test_every_part_of_the_key_matters():
    variants = [(0, "fog", 1, 0), (1, "fog", 1, 0), (0, "snow", 1, 0), (0, "fog", 2, 0), (0, "fog", 1, 1)]
    numbers = [random.uniform(random.tensor_keys(s, p, v, ["a"], d), (8,)) for s, p, v, d in variants]
    assert len({tuple(row[0].tolist()) for row in numbers}) == len(variants)
