import numpy as np
import pytest
import torch

from noseprint.inference import sieve as module
from noseprint.inference.sieve import float_sieve, int8_sieve, random_rotation, to_int8


def unit(n, d, seed, *, spread=1.0):
    x = np.random.default_rng(seed).standard_normal((n, d)) * np.arange(1.0, d + 1) ** -spread
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def sieved(kind, queries, rows):
    """The sieve, its products with the rows, and the queries' numbers."""
    who = np.arange(len(queries))
    if kind == torch.int8:
        rotation = random_rotation(queries.shape[1], np.random.default_rng(5))
        step = float((torch.from_numpy(rows) @ rotation).abs().max()) / 127
        sieve = int8_sieve(queries, rotation=rotation, step=step)
        return sieve, sieve.product(who, to_int8(torch.from_numpy(rows) @ rotation, step)), who
    sieve = float_sieve(queries, kind)
    return sieve, sieve.product(who, torch.from_numpy(rows).to(kind)), who


@pytest.mark.parametrize("spread", [0, 1, 4], ids=["isotropic", "as learnt ones", "two dimensions"])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.int8])
@pytest.mark.parametrize("number", [5, 70])
def test_the_error_is_within_what_is_said_and_no_idle_word(kind, spread, number):
    queries, rows = unit(number, 96, 0, spread=spread), unit(3000, 96, 1, spread=spread)
    sieve, product, who = sieved(kind, queries, rows)
    assert product.shape == (number, 3000)
    truth = queries.astype(np.float64) @ rows.T.astype(np.float64)
    error = np.abs(product.double().numpy() * sieve.unit[:, None] - truth).max(axis=1)
    assert (error <= sieve.error).all()
    if kind == torch.int8:
        assert (error > sieve.error / 10).all()
    for floor in (truth.min(), -0.1, 0.0, 0.2, truth.max()):
        passed = sieve.may_reach(product, who, np.full(number, floor, np.float32))
        assert np.isin(np.flatnonzero(truth >= floor + 1e-6), passed).all()
        assert (truth.ravel()[passed] >= floor - 2.1 * sieve.error.max()).all()
    kth = sieve.at_least_kth(product, who, 4)
    assert ((truth >= kth[:, None]).sum(axis=1) >= 4).all()
    assert len(sieve.may_reach(product, who, np.full(number, -np.inf, np.float32))) == product.numel()


def test_a_machine_without_fast_int8_finds_the_same(monkeypatch):
    queries, rows = unit(20, 64, 0), unit(500, 64, 1)
    products = []
    for fast in (True, False):
        monkeypatch.setattr(module, "int8_is_fast", lambda fast=fast: fast)
        products.append(sieved(torch.int8, queries, rows)[1])
    assert products[0].dtype != products[1].dtype
    assert torch.equal(products[0].float(), products[1])


def test_where_torch_has_no_int8_product_it_is_not_fast(monkeypatch):
    def refuse(*_):
        raise NotImplementedError

    monkeypatch.setattr(torch, "_int_mm", refuse)
    assert not module.int8_is_fast.__wrapped__()


def test_a_query_of_nothing_is_like_nothing():
    sieve, product, who = sieved(torch.int8, np.zeros((2, 16), np.float32), unit(9, 16, 0))
    assert not product.any()
    assert len(sieve.may_reach(product, who, np.full(2, 0.5, np.float32))) == 0


def test_a_rotation_keeps_lengths_and_depends_on_the_seed():
    turn, same, other = (random_rotation(24, np.random.default_rng(seed)) for seed in (0, 0, 1))
    torch.testing.assert_close(turn @ turn.T, torch.eye(24), atol=1e-6, rtol=0)
    assert torch.equal(turn, same)
    assert not torch.allclose(turn, other)
