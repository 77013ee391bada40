"""Charts as SVG text, drawn without a browser: opening the report fetches and runs nothing for them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from types import MappingProxyType
from typing import Any

import numpy as np
import polars as pl
from markupsafe import Markup

from curate.report.svg import titled

BINS = 36
COLORS = 20  # clusters with a colour of their own on the map; further ones use the same again
GREY, BLUE, ORANGE, RED = "#9aa5b4", "#2f6fde", "#e07b39", "#d03b3b"
LOGARITHMIC = ("chars", "words", "lines", "ratio")
# Text and lines have the colour of the page's text, so that charts fit both schemes.
CONFIG: dict[str, Any] = {
    "background": None,
    "view": {"stroke": None},
    "axis": {"grid": False, "labelColor": "currentColor", "titleColor": "currentColor", "aria": False},
    "legend": {"labelColor": "currentColor", "aria": False},
    "title": {"color": "currentColor", "aria": False},
    "text": {"color": "currentColor"},
}
Row = dict[str, Any]
LABELS: Row = {
    "field": "label",
    "type": "nominal",
    "sort": None,
    "axis": {"title": None, "labelLimit": 165, "minExtent": 165, "ticks": False, "domain": False},
}


@dataclass(frozen=True, slots=True)
class Chart:
    """A picture, and the values that it shows as a table."""

    svg: Markup
    table: list[Row] = field(default_factory=list)
    outside: tuple[str, ...] = ()  # bounds that are not within the axis


def before_after(values: pl.Series, kept: pl.Series, title: str, bounds: Mapping[str, float] | None = None) -> Chart:
    """Return a histogram of a numeric signal over all pairs, the kept ones in front, with a line at each bound."""
    return _histogram(
        {"all pairs": values, "kept": values.filter(kept)},
        {"all pairs": GREY, "kept": BLUE},
        title,
        logarithmic=title.endswith(LOGARITHMIC),
        bounds=bounds or {},
    )


def chosen_rejected(chosen: pl.Series, rejected: pl.Series, title: str) -> Chart:
    """Return two overlaid histograms on a logarithmic axis."""
    groups = {"chosen": chosen, "rejected": rejected}
    return _histogram(groups, {"chosen": BLUE, "rejected": ORANGE}, title, logarithmic=True)


def histograms(groups: Mapping[str, pl.Series], title: str, counted: str) -> Chart:
    """Return a histogram of each of up to four groups, over each other; `counted` says what the values belong to."""
    colors = dict(zip(groups, (BLUE, ORANGE, GREY, RED), strict=False))
    return _histogram(dict(groups), colors, title, logarithmic=False, counted=counted)


def prompt_map(points: pl.DataFrame, names: Sequence[str]) -> Markup:
    """
    Return a map of points (x, y, cluster, kept), coloured by cluster; dropped ones are faint.

    At the centre of each cluster is its number in the table, from 1.
    """
    shown = points.with_columns(color=pl.col("cluster") % COLORS)
    middle = points.group_by("cluster").agg(pl.col("x", "y").median()).sort("cluster")
    labels = [
        {"x": x, "y": y, "number": cluster + 1, "about": f"{cluster + 1}: {names[cluster]}"}
        for cluster, x, y in middle.iter_rows()
    ]
    axis = {"type": "quantitative", "axis": None, "scale": {"zero": False}}
    place = {"x": {"field": "x", **axis}, "y": {"field": "y", **axis}}
    dots = {
        "data": {"values": shown.select("x", "y", "color", "kept").to_dicts()},
        "mark": {"type": "square", "size": 12, "aria": False},
        "encoding": {
            **place,
            "opacity": {"condition": {"test": "datum.kept", "value": 0.7}, "value": 0.2},
            "color": {
                "field": "color",
                "type": "nominal",
                "scale": {"domain": list(range(COLORS)), "scheme": "tableau20"},
                "legend": None,
            },
        },
    }
    numbers = {
        "data": {"values": labels},
        "mark": {"type": "text", "fontSize": 12, "fontWeight": "bold"},
        "encoding": {**place, "text": {"field": "number"}, "description": {"field": "about"}},
    }
    return _svg({"width": 720, "height": 420, "layer": [dots, numbers]}, "Map of the prompts by cluster")


def lines(found: Mapping[str, Sequence[tuple[float, float]]], title: str) -> Markup:
    """Return a line chart of (x, y) points, in the order of x; points that are not finite are omitted."""
    colors = dict(zip(found, (BLUE, ORANGE, GREY), strict=False))
    points = [
        {"x": x, "y": y, "of": name}
        for name, line in found.items()
        for x, y in line
        if np.isfinite(x) and np.isfinite(y)
    ]
    spec = {
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
    }
    return _svg(spec, title)


def bars(rows: Sequence[Row], title: str) -> Markup:
    """Return a horizontal bar from 0.5 to each value: an AUC. In: label (all different), value, about."""
    axis = {"title": "AUC", "tickCount": 5, "format": ".1f"}
    spec = {
        "data": {"values": [{**row, "start": 0.5} for row in rows]},
        "mark": {"type": "bar", "color": BLUE, "height": {"band": 0.7}},
        "encoding": {
            "y": LABELS,
            "x": {
                "field": "start",
                "type": "quantitative",
                "scale": {"domain": [0.5, 1.0], "clamp": True},
                "axis": axis,
            },
            "x2": {"field": "value"},
            "description": {"field": "about"},
        },
    }
    return _svg({"title": title, "width": 150, "height": {"step": 18}, **spec}, title)


def intervals(rows: Sequence[Row], title: str) -> Markup:
    """Return a point for each share, with its interval and a line at one half. In: label, value, low, high, about."""
    scale = {"domain": [0, 1], "clamp": True}
    share = {"type": "quantitative", "scale": scale, "axis": {"title": None, "format": "%", "tickCount": 3}}
    marks: list[Row] = [
        {
            "data": {"values": [{"at": 0.5}]},
            "mark": {"type": "rule", "color": GREY, "strokeDash": [4, 3], "aria": False},
            "encoding": {"x": {"field": "at", **share}},
        },
        {
            "mark": {"type": "rule", "color": BLUE, "strokeWidth": 2, "aria": False},
            "encoding": {"y": LABELS, "x": {"field": "low", **share}, "x2": {"field": "high"}},
        },
        {
            "mark": {"type": "point", "filled": True, "color": BLUE, "size": 60, "opacity": 1},
            "encoding": {"y": LABELS, "x": {"field": "value", **share}, "description": {"field": "about"}},
        },
    ]
    spec = {"data": {"values": list(rows)}, "layer": marks}
    return _svg({"title": title, "width": 150, "height": {"step": 18}, **spec}, title)


def _histogram(
    groups: Mapping[str, pl.Series],
    colors: Mapping[str, str],
    title: str,
    *,
    logarithmic: bool,
    bounds: Mapping[str, float] = MappingProxyType({}),
    counted: str = "pairs",
) -> Chart:
    samples = {name: values.drop_nulls().cast(pl.Float64).to_numpy() for name, values in groups.items()}
    samples = {name: values[np.isfinite(values)] for name, values in samples.items()}
    edges = _edges(np.concatenate(list(samples.values())), logarithmic=logarithmic)
    bins = [(float(start), float(stop)) for start, stop in pairwise(edges)]
    counts = {
        name: np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0].tolist() for name, values in samples.items()
    }
    bars = [
        {"from": start, "to": stop, counted: count, "of": name, "about": f"{_span(start, stop)}: {count:,} {name}"}
        for name, of_bins in counts.items()
        for (start, stop), count in zip(bins, of_bins, strict=True)
        if count
    ]
    table = [
        {"from": start, "to": stop, **{name: of_bins[place] for name, of_bins in counts.items()}}
        for place, (start, stop) in enumerate(bins)
        if any(of_bins[place] for of_bins in counts.values())
    ]
    within = {name: bound for name, bound in bounds.items() if edges[0] <= bound <= edges[-1]}
    spec = {
        "title": title,
        "width": 300,
        "height": 130,
        "layer": [
            {
                "data": {"values": bars},
                "mark": {"type": "bar", "opacity": 0.72, "binSpacing": 0},
                "encoding": _bar_encoding(edges, colors, counted, logarithmic=logarithmic),
            },
            *_rule_lines(within),
        ],
    }
    return Chart(_svg(spec, title), table, tuple(name for name in bounds if name not in within))


def _bar_encoding(edges: np.ndarray, colors: Mapping[str, str], counted: str, *, logarithmic: bool) -> dict[str, Any]:
    axis = {"format": "~s", "tickCount": 6} if logarithmic else {"tickCount": 6}
    scale = {
        "type": "log" if logarithmic else "linear",
        "domain": [float(edges[0]), float(edges[-1])],
        "nice": False,
    }
    return {
        "x": {
            "field": "from", "type": "quantitative", "bin": "binned", "scale": scale, "axis": {"title": None, **axis},
        },
        "x2": {"field": "to"},
        "y": {"field": counted, "type": "quantitative", "stack": None, "axis": {"tickCount": 4}},
        "color": _legend(colors),
        "description": {"field": "about"},
    }  # fmt: skip


def _rule_lines(bounds: Mapping[str, float]) -> list[dict[str, Any]]:
    """Return a vertical line at each bound, named by its rule."""
    if not bounds:
        return []
    values = [{"at": bound, "rule": name} for name, bound in bounds.items()]
    line = {"type": "rule", "color": RED, "strokeWidth": 2, "strokeDash": [4, 3]}
    at = {"x": {"field": "at", "type": "quantitative"}, "description": {"field": "rule"}}
    return [{"data": {"values": values}, "mark": line, "encoding": at}]


def _span(start: float, stop: float) -> str:
    return f"{start:.4g} to {stop:.4g}"


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


def _svg(spec: dict[str, Any], title: str) -> Markup:
    # A plain Vega-Lite specification: building and validating it with altair would double the time.
    import vl_convert

    svg = titled(vl_convert.vegalite_to_svg({**spec, "config": CONFIG}), title)
    return Markup(svg)  # noqa: S704 - Vega and `titled` escape texts
