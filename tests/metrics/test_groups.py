import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from noseprint.metrics.groups import DisjointSets


@given(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=25))
def test_sets_are_the_connected_components(edges):
    sets = DisjointSets()
    sets.add(*range(12))
    for a, b in edges:
        sets.join(a, b)
    a, b = np.array(edges, dtype=int).reshape(-1, 2).T
    count, component = connected_components(coo_array((np.ones(len(a)), (a, b)), shape=(12, 12)), directed=False)
    want = {frozenset(np.flatnonzero(component == c).tolist()) for c in range(count)}
    assert {frozenset(group) for group in sets.sets()} == want
    assert sum(map(len, sets.sets())) == 12
    assert all(sets.members(item) is group for group in sets.sets() for item in group)
