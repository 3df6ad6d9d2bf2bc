"""`python -m observability.dashboards`: write every dashboard as the JSON that Grafana reads."""

from pathlib import Path

from observability.dashboards.boards import BOARDS
from observability.dashboards.panels import to_json

FOLDER = Path(__file__).parent


def main() -> None:
    """Write one file a dashboard beside this module."""
    for name, board in BOARDS.items():
        (FOLDER / f"{name}.json").write_text(to_json(board), encoding="utf-8")


if __name__ == "__main__":
    main()
