"""Charts: SVG text for any values, including unusual ones."""

import polars as pl
import pytest

from curate.report.charts import before_after, chosen_rejected

ODD = [[], [None, None], [1.0], [0.0, 0.0], [1.0, float("inf"), None], [-3.0, 5.0], [1e-9, 1e12]]


@pytest.mark.slow
@pytest.mark.parametrize("values", ODD)
@pytest.mark.parametrize("title", ["chars_ratio", "margin"])
def test_before_after_draws_any_values(values: list[float | None], title: str) -> None:
    kept = pl.Series([True] * len(values), dtype=pl.Boolean)
    svg = before_after(pl.Series(values, dtype=pl.Float64), kept, title).svg
    assert svg.startswith("<svg")
    assert title in svg


@pytest.mark.slow
def test_the_same_values_give_the_same_picture() -> None:
    values = pl.Series([1, 2, 3, 100])
    assert chosen_rejected(values, values, "words") == chosen_rejected(values, values, "words")
