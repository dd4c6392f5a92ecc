"""Command line: see `--help`."""

import argparse
import json
import sys

from tools import kind
from tools.images import __doc__ as about
from tools.images import engines
from tools.images.recipes import RECIPES
from tools.localcluster import images, progress
from tools.localcluster.cluster import LocalCluster
from tools.localcluster.paths import LocalClusterError


def build(names: list[str], *, load: bool) -> dict[str, str]:
    """Build what is missing, load it if asked and a cluster runs; name → reference."""
    engine = engines.choose(progress.say)
    references = {name: engines.ensure(RECIPES[name], engine, progress.say) for name in names}
    if load:
        _load(list(references.values()), engine)
    return references


def _load(references: list[str], engine: engines.Engine) -> None:
    docker = isinstance(engine, engines.Docker)
    if docker and kind.runs():
        for reference in references:
            with progress.stage(f"loading {reference} into kind", progress.say):
                progress.run(["kind", "load", "docker-image", reference, "--name", kind.CLUSTER])
    elif LocalCluster().is_up():
        images.load(references, progress.say, docker=docker)
    else:
        progress.say("no cluster runs, so nothing was loaded (`make up` starts one)")


def main(words: list[str] | None = None) -> int:
    """0 built; 1 something the user can mend; 130 interrupted."""
    parser = argparse.ArgumentParser(prog="python3 -m tools.images", description=about)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("build", help="build images; print their references")
    command.add_argument("name", nargs="*", help=f"of: {', '.join(RECIPES)}; none is all")
    command.add_argument("--load", action="store_true", help="bring them into the cluster, if one runs")
    command.add_argument("--json", action="store_true", help="print one JSON object, name to reference")
    arguments = parser.parse_args(words)
    if unknown := set(arguments.name) - set(RECIPES):
        parser.error(f"no such image: {', '.join(sorted(unknown))}")
    try:
        references = build(arguments.name or list(RECIPES), load=arguments.load)
    except LocalClusterError as error:
        print(f"images: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("images: interrupted", file=sys.stderr)
        return 130
    print(json.dumps(references) if arguments.json else "\n".join(references.values()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
