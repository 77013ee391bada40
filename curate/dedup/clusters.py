"""Clusters from edges: connected components."""

import numpy as np
import polars as pl


def components(rows: int, edges: pl.DataFrame) -> np.ndarray:
    """
    Return the cluster of each row, uint64: the smallest row it is connected to, itself when it has no edges.

    in : the number of rows; row_a, row_b (u64), in any order, repeated or not, also of a row to itself
    """
    edges = edges.filter(pl.col("row_a") != pl.col("row_b"))
    if edges.is_empty():
        return np.arange(rows, dtype=np.uint64)
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ends = (edges.get_column("row_a").to_numpy(), edges.get_column("row_b").to_numpy())
    graph = coo_array((np.ones(len(edges), np.int8), ends), shape=(rows, rows))
    count, labels = connected_components(graph, directed=False)
    smallest = np.empty(count, np.uint64)
    # Assigned backwards, so that the smallest row is written last.
    smallest[labels[::-1]] = np.arange(rows, dtype=np.uint64)[::-1]
    clusters: np.ndarray = smallest[labels]
    return clusters
