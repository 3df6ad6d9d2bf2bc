"""Panels and dashboards in the form of Grafana's JSON (schema 39, Grafana 10 and later)."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

Json = dict[str, Any]

_SOURCE: Final[Json] = {"type": "prometheus", "uid": "${source}"}
_COLUMNS: Final = 24
_SCHEMA: Final = 39


@dataclass(frozen=True, slots=True)
class Query:
    """One expression in PromQL and how its lines are called (`{{endpoint}}`)."""

    expression: str
    legend: str = ""
    instant: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel. `unit` is Grafana's (`reqps`, `s`, `bytes`, `percentunit`, `short`), `kind` its type."""

    title: str
    queries: tuple[Query, ...]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    height: int = 8
    says: str = ""
    """What a person should think who sees it."""
    red_from: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """Panels below one heading, from left to right, wrapped as the screen needs."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Board:
    """One dashboard. `variables` are label values to choose from: name → query of `label_values`."""

    uid: str
    title: str
    rows: tuple[Row, ...]
    variables: tuple[tuple[str, str], ...] = ()

    def queries(self) -> list[Query]:
        """Return every query of every panel."""
        return [query for row in self.rows for panel in row.panels for query in panel.queries]


def to_json(board: Board) -> str:
    """Return a dashboard as Grafana imports it: the same text for the same board."""
    document: Json = {
        "uid": board.uid,
        "title": board.title,
        "tags": ["candela"],
        "schemaVersion": _SCHEMA,
        "version": 1,
        "editable": False,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [_source(), *(_variable(name, query) for name, query in board.variables)]},
        "links": [{"type": "dashboards", "tags": ["candela"], "title": "Candela", "asDropdown": True}],
        "panels": _placed(board.rows),
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _placed(rows: Sequence[Row]) -> list[Json]:
    """Return headings and panels with their places on the grid."""
    placed: list[Json] = []
    top = 0
    for row in rows:
        place = {"x": 0, "y": top, "w": _COLUMNS, "h": 1}
        placed.append({"id": len(placed) + 1, "type": "row", "title": row.title, "collapsed": False, "gridPos": place})
        left, top, tallest = 0, top + 1, 0
        for panel in row.panels:
            if left + panel.width > _COLUMNS:
                left, top, tallest = 0, top + tallest, 0
            place = {"x": left, "y": top, "w": panel.width, "h": panel.height}
            placed.append({"id": len(placed) + 1, "gridPos": place, **_panel(panel)})
            left, tallest = left + panel.width, max(tallest, panel.height)
        top += tallest
    return placed


def _panel(panel: Panel) -> Json:
    steps: list[Json] = [{"color": "green", "value": None}]
    if panel.red_from is not None:
        steps.append({"color": "red", "value": panel.red_from})
    defaults: Json = {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}}
    if panel.kind == "timeseries":
        shown = "line" if panel.red_from is not None else "off"
        defaults["custom"] = {"fillOpacity": 8, "showPoints": "never", "thresholdsStyle": {"mode": shown}}
        defaults["min"] = 0
    return {
        "type": panel.kind,
        "title": panel.title,
        **({"description": panel.says} if panel.says else {}),
        "datasource": _SOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": _OPTIONS[panel.kind],
        "targets": [_target(number, query) for number, query in enumerate(panel.queries)],
    }


def _target(number: int, query: Query) -> Json:
    return {
        "refId": chr(ord("A") + number),
        "datasource": _SOURCE,
        "expr": query.expression,
        "legendFormat": query.legend or "__auto",
        **({"instant": True, "range": False, "format": "table"} if query.instant else {}),
    }


_OPTIONS: Final[dict[str, Json]] = {
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "area"},
    "table": {"showHeader": True, "sortBy": [{"displayName": "Value", "desc": True}]},
}


def _source() -> Json:
    return {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _variable(name: str, query: str) -> Json:
    return {
        "name": name,
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": query, "refId": name},
        "definition": query,
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }
