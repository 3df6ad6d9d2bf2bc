"""Grafana dashboards as code: panels.py knows how Grafana writes them, boards.py what they show.

`python -m observability.dashboards` writes the JSON files beside this one, which Grafana reads.
"""
