"""Clusters from pairs: what hangs together."""

import numpy as np
import polars as pl


def components(rows: int, edges: pl.DataFrame) -> np.ndarray:
    """
    in : how many rows there are; row_a, row_b (u64), in any order and number
    out: uint64, one a row: the smallest row of its cluster, itself when it is alone
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ends = (edges.get_column("row_a").to_numpy(), edges.get_column("row_b").to_numpy())
    graph = coo_array((np.ones(len(edges), np.int8), ends), shape=(rows, rows))
    count, labels = connected_components(graph, directed=False)
    smallest = np.empty(count, np.uint64)
    # Backwards, so that what is written last, and stays, is the smallest.
    smallest[labels[::-1]] = np.arange(rows, dtype=np.uint64)[::-1]
    clusters: np.ndarray = smallest[labels]
    return clusters
