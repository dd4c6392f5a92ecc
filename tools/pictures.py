"""Pictures of the dashboards without a Grafana: every panel's queries, put to a running Prometheus and drawn.

`make pictures` looks at the cluster of `make stack`. It draws what Grafana would show, in Grafana's layout, plainly
enough to judge whether a panel says something; colours and fonts are matplotlib's.
"""

import argparse
import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from tools import dashboards
from tools.cluster import KUBECONFIG, ROOT, Cluster, CommandError, binaries
from tools.panel_text import clock, legend, text
from tools.up import MONITORING, PROMETHEUS

STEP_SECONDS = 10
COLUMN_INCHES, ROW_INCHES = 0.75, 0.38
COLOURS = {"green": "#37872d", "orange": "#e0752d", "red": "#c4162a", "blue": "#1f60c4", "text": "#555555"}
CHARACTERS = 34


@dataclass(frozen=True)
class Series:
    name: str
    labels: Mapping[str, str]
    times: Sequence[float]
    values: Sequence[float]


@dataclass(frozen=True)
class Source:
    """A Prometheus, the time that is shown, and the variables that somebody chose."""

    client: httpx.Client
    start: float
    end: float
    variables: Mapping[str, str]

    def ask(self, target: Mapping[str, Any]) -> list[Series]:
        expression = dashboards.Query("", target["expr"]).filled(self.variables)
        if target.get("instant"):
            data = self._get("query", query=expression, time=self.end)
            pairs = [(one["metric"], [one["value"]]) for one in data["result"]]
        else:
            window = {"start": self.start, "end": self.end, "step": STEP_SECONDS}
            data = self._get("query_range", query=expression, **window)
            pairs = [(one["metric"], one["values"]) for one in data["result"]]
        return [
            Series(
                legend(target["legendFormat"], labels), labels, [at for at, _ in points], [float(v) for _, v in points]
            )
            for labels, points in pairs
        ]

    def values(self, expression: str, label: str) -> list[str]:
        result = self._get("query", query=f"count by ({label}) ({expression})", time=self.end)["result"]
        return sorted(one["metric"][label] for one in result if label in one["metric"])

    def _get(self, path: str, **parameters: str | float) -> Any:
        answer = self.client.get(f"/api/v1/{path}", params=parameters)
        if answer.is_error:
            raise ValueError(f"{answer.json().get('error', answer.text)}: {parameters['query']}")
        return answer.json()["data"]


def chosen(dashboard: Mapping[str, Any], url: str, minutes: float, wanted: Mapping[str, str]) -> Source:
    """Variables as Grafana would set them at first, but for what is wanted."""
    now = time.time()
    known = dashboards.constants(dashboard)
    source = Source(httpx.Client(base_url=url, timeout=30), now - 60 * minutes, now, known)
    for name, variable in dashboards.variables(dashboard).items():
        if variable["type"] == "query":
            query, label = dashboards.looked_up(variable)
            found = source.values(query.filled(known), label)
            first = ".*" if variable["includeAll"] else (found or [""])[0]
            known[name] = wanted[name] if wanted.get(name) in found else first
    return source


def draw(dashboard: Mapping[str, Any], source: Source, file: Path) -> list[str]:
    """Writes the picture; returns the titles of panels that show nothing."""
    panels = list(dashboards.panels(dashboard))
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    figure = plt.figure(figsize=(24 * COLUMN_INCHES, (height + 2) * ROW_INCHES), dpi=80)
    chosen_values = {name: value for name, value in source.variables.items() if name != "paths" and value != ".*"}
    where = ", ".join(f"{name} {value}" for name, value in chosen_values.items())
    figure.text(0.01, 1 - 0.7 / (height + 2), f"{dashboard['title']}   [{where}]", fontsize=15, weight="bold")
    empty = []
    for panel in panels:
        place = panel["gridPos"]
        top = 1 - (place["y"] + 1.4) / (height + 2)
        if panel["type"] == "row":
            figure.text(0.01, top - 0.7 / (height + 2), panel["title"], fontsize=12, weight="bold")
            continue
        box = (place["x"] / 24 + 0.035, top - (place["h"] - 1.1) / (height + 2))
        size = (place["w"] / 24 - 0.045, (place["h"] - 2.2) / (height + 2))
        axes = figure.add_axes((*box, *size))
        axes.set_title(panel["title"], fontsize=9, loc="left")
        answers = [(target, source.ask(target)) for target in panel["targets"]]
        if not any(series for _, series in answers):
            empty.append(panel["title"])
        DRAW[panel["type"]](axes, panel, answers)
    figure.savefig(file)
    plt.close(figure)
    return empty


Answers = list[tuple[Mapping[str, Any], list[Series]]]


def _lines(axes: Axes, panel: Mapping[str, Any], answers: Answers) -> None:
    stacked = panel["fieldConfig"]["defaults"]["custom"]["stacking"]["mode"] == "normal"
    shown = [(target, one) for target, many in answers for one in many]
    if stacked and shown:
        times = sorted({at for _, one in shown for at in one.times})
        rows = [[dict(zip(one.times, one.values, strict=True)).get(at, 0.0) for at in times] for _, one in shown]
        axes.stackplot(times, rows, labels=[one.name[:CHARACTERS] for _, one in shown], alpha=0.7)
    else:
        for target, one in shown:
            promised = target["refId"] == "promised"
            (line,) = axes.plot(one.times, one.values, label=one.name[:CHARACTERS])
            if promised:
                line.set(color="red", linestyle="--")
    for step in panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", [])[1:]:
        axes.axhline(step["value"], color=COLOURS[step["color"]], linestyle=":", linewidth=1)
    if shown:
        axes.legend(fontsize=6, loc="upper left")
        axes.set_ylim(0, max(axes.get_ylim()[1] * 1.1, 1e-6))
    unit = panel["fieldConfig"]["defaults"].get("unit", "none")
    axes.yaxis.set_major_formatter(lambda value, _: text(value, unit))
    begin, end = axes.get_xlim()
    axes.xaxis.set_major_formatter(lambda value, _: clock(value, end - begin))
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.3)


def _stat(axes: Axes, panel: Mapping[str, Any], answers: Answers) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    series = [one for _, many in answers for one in many]
    value = series[0].values[-1] if series else math.nan
    colour = "green"
    for step in defaults["thresholds"]["steps"]:
        if step["value"] is None or value >= step["value"]:
            colour = step["color"]
    if math.isnan(value):
        shown, colour = defaults.get("noValue", "No data"), "text"
    else:
        shown = text(value, defaults.get("unit", "none"))
    for mapping in defaults.get("mappings", []):
        if mapping["type"] == "value":
            shown = mapping["options"].get(f"{value:g}", {"text": shown})["text"]
    axes.text(0.5, 0.45, shown, ha="center", va="center", fontsize=20, color=COLOURS[colour])
    axes.set_axis_off()


def _bars(axes: Axes, panel: Mapping[str, Any], answers: Answers) -> None:
    series = [one for _, many in answers for one in many]
    axes.barh([one.name for one in series], [one.values[-1] for one in series], color=COLOURS["green"])
    defaults = panel["fieldConfig"]["defaults"]
    axes.set_xlim(0, defaults.get("max", None))
    axes.xaxis.set_major_formatter(lambda value, _: text(value, defaults.get("unit", "none")))
    axes.tick_params(labelsize=7)


def _table(axes: Axes, panel: Mapping[str, Any], answers: Answers) -> None:
    """Rows that agree in their labels are one, as Grafana's `merge` makes them."""
    organized = panel["transformations"][-1]["options"]
    names, order = organized["renameByName"], organized["indexByName"]
    units = _units(panel)
    rows: dict[tuple[tuple[str, str], ...], dict[str, Any]] = {}
    for index, (target, many) in enumerate(answers):
        column = "Value" if len(answers) == 1 else f"Value #{target['refId']}"
        for one in many:
            fits = [row for row in rows.values() if index and one.labels.items() <= row.items()]
            for row in fits or [rows.setdefault(tuple(sorted(one.labels.items())), dict(one.labels))]:
                row[column] = text(one.values[-1], units.get(names.get(column, column), "none"))
    columns = [name for name in order if name in names and any(name in row for row in rows.values())]
    axes.set_axis_off()
    cells = [[str(row.get(name, ""))[:CHARACTERS] for name in columns] for row in rows.values()]
    if cells:
        shown = axes.table(cells, colLabels=[names[name] for name in columns], loc="upper left", cellLoc="left")
        shown.auto_set_font_size(False)
        shown.set_fontsize(7)
    else:
        axes.text(0.5, 0.5, panel["fieldConfig"]["defaults"].get("noValue", "No data"), ha="center")


def _units(panel: Mapping[str, Any]) -> dict[str, str]:
    """Units of a table's columns, by their shown names."""
    return {
        override["matcher"]["options"]: one["value"]
        for override in panel["fieldConfig"]["overrides"]
        for one in override["properties"]
        if one["id"] == "unit"
    }


def _heat(axes: Axes, panel: Mapping[str, Any], answers: Answers) -> None:
    series = sorted((one for _, many in answers for one in many), key=lambda one: float(one.labels["le"]))
    if not series:
        return
    times = sorted({at for one in series for at in one.times})
    cumulative = [[dict(zip(one.times, one.values, strict=True)).get(at, 0.0) for at in times] for one in series]
    below = [[0.0] * len(times), *cumulative[:-1]]
    cells = [[high - low for high, low in zip(*pair, strict=True)] for pair in zip(cumulative, below, strict=True)]
    axes.imshow(cells, aspect="auto", origin="lower", cmap="Oranges")
    axes.set_yticks(range(len(series)), [text(float(one.labels["le"]), "s") for one in series], fontsize=5)
    axes.set_xticks([])


DRAW = {"timeseries": _lines, "stat": _stat, "bargauge": _bars, "table": _table, "heatmap": _heat}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.pictures", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--prometheus", help="its URL; default: that of the cluster of `make stack`")
    parser.add_argument("--minutes", type=float, default=15, help="how far back")
    parser.add_argument("--out", type=Path, default=ROOT / ".fairlead" / "pictures")
    parser.add_argument("--namespace", default="models")
    parser.add_argument("--model-deployment", default="breast-cancer")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    try:
        if options.prometheus:
            _all(options.prometheus, options)
        else:
            with Cluster(binaries(), KUBECONFIG).port_forward(MONITORING, f"service/{PROMETHEUS}", 9090) as url:
                _all(url, options)
    except (CommandError, httpx.HTTPError, ValueError) as error:
        print(f"pictures: {error}", file=sys.stderr)
        return 1
    return 0


def _all(url: str, options: argparse.Namespace) -> None:
    wanted = {"namespace": options.namespace, "model_deployment": options.model_deployment}
    for path in dashboards.FILES:
        dashboard, file = dashboards.read(path), options.out / f"{path.stem}.png"
        empty = draw(dashboard, chosen(dashboard, url, options.minutes, wanted), file)
        print(f"pictures: {file}" + (f"; nothing in {', '.join(empty)}" if empty else ""), flush=True)


if __name__ == "__main__":
    sys.exit(main())
