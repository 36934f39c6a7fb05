"""The identities of images, found from labelled pairs alone."""

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from noseprint.metrics.similarity import Flags, Indices, Pairs


def identity_clusters(pairs: Pairs, same: Flags) -> tuple[Indices, Indices]:
    """A number for the identity of each pair's image A (P,) and image B (P,), in order of appearance.

    Images that are connected by same pairs are one identity. The result may be finer than the truth, never coarser.
    """
    names = np.array([pairs.image_a, pairs.image_b], dtype=object)
    images, known = pd.factorize(names.T.ravel())
    a, b = images.reshape(-1, 2).T
    edges = a[same], b[same]
    graph = coo_array((np.ones(len(edges[0])), edges), shape=(len(known), len(known)))
    cluster = connected_components(graph, directed=False)[1].astype(np.intp)
    return cluster[a], cluster[b]
