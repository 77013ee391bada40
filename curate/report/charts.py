"""Charts as SVG text, drawn without a browser: opening the report fetches and runs nothing for them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

BINS = 36
COLORED = 10  # clusters with their own colour on the map
GREY, BLUE, ORANGE = "#b8c0cc", "#2f6fde", "#e07b39"
LOGARITHMIC = ("chars", "words", "lines", "ratio")


def before_after(values: pl.Series, kept: pl.Series, title: str) -> str:
    """Return a histogram of a numeric signal over all pairs, with the kept pairs in front."""
    logarithmic = title.endswith(LOGARITHMIC)
    return _histogram(
        {"all pairs": values, "kept": values.filter(kept)},
        {"all pairs": GREY, "kept": BLUE},
        title,
        logarithmic=logarithmic,
    )


def chosen_rejected(chosen: pl.Series, rejected: pl.Series, title: str) -> str:
    """Return two overlaid histograms on a logarithmic axis."""
    return _histogram(
        {"chosen": chosen, "rejected": rejected}, {"chosen": BLUE, "rejected": ORANGE}, title, logarithmic=True
    )


def prompt_map(points: pl.DataFrame, names: Sequence[str]) -> str:
    """Return a map of points (x, y, cluster, kept), coloured by the ten largest clusters; dropped ones are faint."""
    shown = [name[:40] for name in names[:COLORED]]
    dots = [
        {"x": x, "y": y, "of": shown[cluster] if cluster < COLORED else "others", "kept": kept}
        for x, y, cluster, kept in points.select("x", "y", "cluster", "kept").iter_rows()
    ]
    axis = {"type": "quantitative", "axis": None, "scale": {"zero": False}}
    domain = [*dict.fromkeys(shown), *(["others"] if len(names) > COLORED else [])]
    return _svg(
        {
            "width": 620,
            "height": 420,
            "data": {"values": dots},
            "mark": {"type": "circle", "size": 14},
            "encoding": {
                "x": {"field": "x", **axis},
                "y": {"field": "y", **axis},
                "opacity": {"condition": {"test": "datum.kept", "value": 0.75}, "value": 0.15},
                "color": {
                    "field": "of",
                    "type": "nominal",
                    "scale": {"domain": domain, "scheme": "tableau20"},
                    "legend": {"title": None, "labelLimit": 260},
                },
            },
            "config": {"view": {"stroke": None}},
        }
    )


def lines(found: Mapping[str, Sequence[tuple[float, float]]], title: str) -> str:
    """Return a line chart of (x, y) points, in the order of x; points that are not finite are omitted."""
    colors = dict(zip(found, (BLUE, ORANGE, GREY), strict=False))
    points = [
        {"x": x, "y": y, "of": name}
        for name, line in found.items()
        for x, y in line
        if np.isfinite(x) and np.isfinite(y)
    ]
    return _svg(
        {
            "title": title,
            "width": 300,
            "height": 150,
            "data": {"values": points},
            "mark": {"type": "line", "point": len(points) < 60},
            "encoding": {
                "x": {"field": "x", "type": "quantitative", "axis": {"title": None}},
                "y": {"field": "y", "type": "quantitative", "scale": {"zero": False}, "axis": {"title": None}},
                "color": _legend(colors),
            },
            "config": {"view": {"stroke": None}, "axis": {"grid": False}},
        }
    )


def _histogram(groups: dict[str, pl.Series], colors: dict[str, str], title: str, *, logarithmic: bool) -> str:
    samples = {name: values.drop_nulls().cast(pl.Float64).to_numpy() for name, values in groups.items()}
    samples = {name: values[np.isfinite(values)] for name, values in samples.items()}
    edges = _edges(np.concatenate(list(samples.values())), logarithmic=logarithmic)
    bars = [
        {"from": float(edges[i]), "to": float(edges[i + 1]), "pairs": int(count), "of": name}
        for name, values in samples.items()
        for i, count in enumerate(np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0])
        if count
    ]
    axis = {"format": "~s", "tickCount": 6} if logarithmic else {}
    return _svg(
        {
            "title": title,
            "width": 300,
            "height": 130,
            "data": {"values": bars},
            "mark": {"type": "bar", "opacity": 0.72, "binSpacing": 0},
            "encoding": {
                "x": {
                    "field": "from",
                    "type": "quantitative",
                    "bin": "binned",
                    "scale": {
                        "type": "log" if logarithmic else "linear",
                        "domain": [float(edges[0]), float(edges[-1])],
                        "nice": False,
                    },
                    "axis": {"title": None, **axis},
                },
                "x2": {"field": "to"},
                "y": {"field": "pairs", "type": "quantitative", "stack": None},
                "color": _legend(colors),
            },
            "config": {"view": {"stroke": None}, "axis": {"grid": False}},
        }
    )


def _legend(colors: Mapping[str, str]) -> dict[str, Any]:
    """Return the colour encoding of the field `of`, with a legend above the chart."""
    return {
        "field": "of",
        "type": "nominal",
        "scale": {"domain": list(colors), "range": list(colors.values())},
        "legend": {"title": None, "orient": "top"},
    }


def _edges(values: np.ndarray, *, logarithmic: bool) -> np.ndarray:
    """Return bin edges over the central 99.8 % of the values; outliers are counted in the outermost bins."""
    if not len(values):
        return np.array([0.0, 1.0])
    low, high = np.quantile(values, [0.001, 0.999])
    if logarithmic:
        low, high = max(low, 1.0), max(high, 2.0, low * 1.01)
        return np.geomspace(low, high, BINS + 1)
    return np.linspace(low, high if high > low else low + 1, BINS + 1)


def _svg(spec: dict[str, Any]) -> str:
    # A plain Vega-Lite specification: building and validating it with altair would double the time.
    import vl_convert

    svg: str = vl_convert.vegalite_to_svg(spec)
    return svg
