"""Grafana's dashboards as plain values: their panels, their queries, and what stands in for Grafana's variables."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILES = sorted((Path(__file__).resolve().parent.parent / "dashboards").glob("*.json"))
INTERVALS = {"__rate_interval": "1m", "__range": "1h", "__interval": "15s"}


@dataclass(frozen=True)
class Query:
    """One PromQL expression, with Grafana's variables still in it."""

    where: str
    expression: str
    legend: str = ""

    def filled(self, variables: Mapping[str, str]) -> str:
        known = INTERVALS | dict(variables)
        return re.sub(r"\$\{?(\w+)\}?", lambda match: known[match[1]], self.expression)


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def panels(dashboard: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """All of them, those of folded rows too."""
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", [])


def variables(dashboard: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {variable["name"]: variable for variable in dashboard["templating"]["list"]}


def constants(dashboard: Mapping[str, Any]) -> dict[str, str]:
    """The variables that nobody chooses."""
    return {name: one["query"] for name, one in variables(dashboard).items() if one["type"] == "constant"}


def looked_up(variable: Mapping[str, Any]) -> tuple[Query, str]:
    """The series and the label that a variable's values come from."""
    match = re.fullmatch(r"label_values\((.*), *(\w+)\)", variable["definition"])
    if match is None:
        raise ValueError(f"not a label_values(series, label): {variable['definition']}")
    return Query(variable["name"], match[1]), match[2]


def queries(dashboard: Mapping[str, Any]) -> Iterator[Query]:
    """Of panels and annotations."""
    for panel in panels(dashboard):
        for target in panel.get("targets", []):
            yield Query(f"{panel['title']} {target['refId']}", target["expr"], target["legendFormat"])
    for annotation in dashboard["annotations"]["list"]:
        yield Query(annotation["name"], annotation["expr"], annotation["titleFormat"] + annotation["textFormat"])
