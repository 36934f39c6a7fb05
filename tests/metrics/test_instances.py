"""Retrieval of instances of several domains."""

import numpy as np
import pytest

from noseprint.data.instances import ALL_DOMAINS
from noseprint.metrics.instances import by_domain, score_instances


def _naive(embeddings: np.ndarray, identities: np.ndarray, queries: np.ndarray, index: np.ndarray) -> list[float]:
    """Precision at min(5, n) by a plain loop, for similarities without ties."""
    found = []
    for query in np.flatnonzero(queries):
        others = [row for row in np.flatnonzero(index) if row != query]
        true = sum(identities[row] == identities[query] for row in others)
        if not true:
            continue
        order = sorted(others, key=lambda row: -float(embeddings[row] @ embeddings[query]))[: min(5, true)]
        found.append(float(np.mean([identities[row] == identities[query] for row in order])))
    return found


def _example() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    number = np.repeat(np.arange(12), 7)
    embeddings = np.eye(12)[number] + rng.normal(0, 0.5, (84, 12))
    embeddings = (embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)).astype(np.float32)
    identities = np.array([f"it{one}" for one in number])
    domains = np.where(number < 6, "toys", "art")
    queries = rng.random(84) < 0.5
    return embeddings, identities, domains, queries, ~queries


def test_precision_is_that_of_a_plain_loop_over_the_merged_index() -> None:
    embeddings, identities, domains, queries, index = _example()
    found = score_instances(embeddings, identities=identities, domains=domains, queries=queries, index=index)
    expected = _naive(embeddings, identities, queries, index)
    assert 0.2 < np.mean(expected) < 0.95
    np.testing.assert_allclose(found.precision_at_5, expected)
    assert list(found.domains) == [domains[row] for row in found.query]


def test_an_image_that_is_query_and_index_never_finds_itself() -> None:
    embeddings, identities, domains, _, _ = _example()
    both = np.ones(84, bool)
    found = score_instances(embeddings, identities=identities, domains=domains, queries=both, index=both)
    np.testing.assert_allclose(found.precision_at_5, _naive(embeddings, identities, both, both))


def test_domains_count_the_same_whatever_their_number_of_queries() -> None:
    embeddings, identities, domains, queries, index = _example()
    queries &= (domains == "art") | (np.arange(84) % 5 == 0)
    found = score_instances(embeddings, identities=identities, domains=domains, queries=queries, index=index)
    scores = by_domain(found.precision_at_5, found)
    expected = np.mean([found.precision_at_5[found.domains == name].mean() for name in ("art", "toys")])
    assert scores[ALL_DOMAINS].value == pytest.approx(expected)
    assert found.mean == pytest.approx(expected)
    assert found.mean != pytest.approx(found.precision_at_5.mean())
    assert scores[ALL_DOMAINS].low < scores[ALL_DOMAINS].value < scores[ALL_DOMAINS].high


def test_differences_are_paired() -> None:
    embeddings, identities, domains, queries, index = _example()
    found = score_instances(embeddings, identities=identities, domains=domains, queries=queries, index=index)
    worse = found.precision_at_5 - 0.01
    scores = by_domain(found.precision_at_5, found, than=worse)
    for score in scores.values():
        assert score.low == pytest.approx(0.01)
        assert score.high == pytest.approx(0.01)
