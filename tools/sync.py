"""`make sync`: regenerates what is a copy of something else, so that each fact has one source.

Helm reads only files inside the chart, hence copies of the CRD, the operator's rules and the dashboards. The tables in
the charts' README.md come from the comments in values.yaml, Argo CD's ConfigMap from the Lua file its tests run,
docs/metrics.md from the programs' registries, docs/reference from the CRD and the server's OpenAPI document; what
`kubectl fairlead doctor` expects from the CRD and the rules.
`--check` changes nothing and ends with 1 if anything is out of date.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fairlead_kubectl.expected import fields_of
from fairlead_service.access.roles import needed
from fairlead_service.app import create_app
from fairlead_service.settings import Settings
from tools import catalogue
from tools.reference import crd, http

ROOT = Path(__file__).resolve().parent.parent
CHARTS = ("charts/fairlead", "charts/fairlead-stack")
TABLE = re.compile(r"(<!-- values: begin -->\n).*?(<!-- values: end -->)", re.DOTALL)
KEY = re.compile(r"^(?P<indent> *)(?P<key>[\w-]+):(?= |$)")
DESCRIPTION = re.compile(r"^ *# -- (?P<text>.*)$")
CONTINUED = re.compile(r"^ *# (?!-- )(?P<text>.*)$")


@dataclass(frozen=True)
class Value:
    """One row of a chart's table: a key as in `--set`, its default as JSON-like YAML, what it is for."""

    key: str
    default: str
    description: str


def described_values(text: str) -> Iterator[Value]:
    """The keys of a values.yaml that have a `# --` comment, in the file's order; two spaces a level."""
    values = yaml.safe_load(text)
    path: list[str] = []
    description: list[str] = []
    for line in text.splitlines():
        if begins := DESCRIPTION.match(line):
            description = [begins["text"]]
        elif description and (goes_on := CONTINUED.match(line)):
            description.append(goes_on["text"])
        elif key := KEY.match(line):
            path = [*path[: len(key["indent"]) // 2], key["key"]]
            if description:
                yield Value(".".join(path), _default(values, path), " ".join(description))
            description = []
        else:
            description = []


def _default(values: Any, path: list[str]) -> str:
    for key in path:
        values = values[key]
    if isinstance(values, str):
        return values or '""'
    dumped = yaml.safe_dump(values, default_flow_style=True, sort_keys=False, width=10_000)
    return dumped.removesuffix("...\n").strip()


def values_table(text: str) -> str:
    """The Markdown table of a values.yaml."""
    rows = ["| Value | Default | What it is for |", "|---|---|---|"]
    for value in described_values(text):
        description = value.description.replace("|", "\\|")
        rows.append(f"| `{value.key}` | `{value.default}` | {description} |")
    return "\n".join(rows) + "\n"


def readme(text: str, values: str) -> str:
    """The README with the table between its two markers made anew."""
    renewed, found = TABLE.subn(lambda match: match[1] + values_table(values) + match[2], text)
    if found != 1:
        raise ValueError("README.md must have one pair of lines <!-- values: begin --> and <!-- values: end -->")
    return renewed


def argocd_config_map(health: str) -> str:
    """The part of Argo CD's own ConfigMap that teaches it the health of a ModelDeployment."""
    script = "".join(f"    {line}".rstrip() + "\n" for line in health.splitlines())
    return (
        "# Generated from health.lua by `make sync`. Merge it into Argo CD's own ConfigMap:\n"
        "#   kubectl -n argocd patch configmap argocd-cm --patch-file manifests/argocd/argocd-cm.yaml\n"
        "apiVersion: v1\n"
        "kind: ConfigMap\n"
        "metadata:\n"
        "  name: argocd-cm\n"
        "  namespace: argocd\n"
        "data:\n"
        "  resource.customizations.health.fairlead.dev_ModelDeployment: |\n"
        f"{script}"
    )


def expected(definition: Any, rules: Any) -> str:
    """What `kubectl fairlead doctor` compares an installation with."""
    (version,) = definition["spec"]["versions"]
    fields = [
        field for field in fields_of(version["schema"]["openAPIV3Schema"]) if field.startswith(("spec.", "status."))
    ]
    return json.dumps({"rules": rules["rules"], "fields": sorted(set(fields))}, indent=1) + "\n"


def generated(root: Path) -> dict[Path, str]:
    """Every generated file and what it should contain."""
    copies = root / "charts/fairlead/files"
    files = {copies / name: (root / "manifests" / name).read_text() for name in ("crd.yaml", "operator-rules.yaml")}
    for dashboard in sorted((root / "dashboards").glob("*.json")):
        files[copies / "dashboards" / dashboard.name] = dashboard.read_text()
    for chart in CHARTS:
        path = root / chart / "README.md"
        files[path] = readme(path.read_text(), (root / chart / "values.yaml").read_text())
    definition, rules = (yaml.safe_load(files[copies / name]) for name in ("crd.yaml", "operator-rules.yaml"))
    files[root / "client/fairlead_kubectl/expected.json"] = expected(definition, rules)
    files[root / "docs/metrics.md"] = catalogue.document()
    files[root / "docs/reference/modeldeployment.md"] = crd.page(definition)
    described = create_app(Settings.model_construct()).openapi()  # as it is by default, whatever this shell's variables
    files[root / "docs/reference/http.md"] = http.page(described, needed)
    argocd = root / "manifests/argocd"
    files[argocd / "argocd-cm.yaml"] = argocd_config_map((argocd / "health.lua").read_text())
    return files


def leftovers(root: Path, wanted: dict[Path, str]) -> list[Path]:
    """Copies whose source is gone. Python there is the chart's own."""
    files = sorted((root / "charts/fairlead/files").rglob("*.*"))
    return [path for path in files if path not in wanted and path.suffix not in {".py", ".pyc"}]


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; end with 1 if anything is out of date")
    check = parser.parse_args(arguments).check
    wanted = generated(root)
    stale = [path for path, text in wanted.items() if not path.is_file() or path.read_text() != text]
    orphans = leftovers(root, wanted)
    for path in (*stale, *orphans):
        print(f"{path.relative_to(root)} {'is out of date: run `make sync`' if check else 'renewed'}")
    if check:
        return 1 if stale or orphans else 0
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted[path])
    for path in orphans:
        path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
