"""The commands: ask the cluster, let the pure modules think, print. Each returns its exit code."""

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final

from rich.live import Live
from rich.text import Text

from fairlead import Tls
from fairlead_kubectl import api, decide, doctor, interrupt, lines, render, status, why
from fairlead_kubectl.cluster import FIELD_MANAGER, AbsentError, Cluster, ClusterError, ForbiddenError
from fairlead_kubectl.decide import Action, AliasMove
from fairlead_kubectl.reading import OWNER_LABEL, TRACK_LABEL, Json, child_name
from fairlead_kubectl.survey import survey

Command = Callable[[argparse.Namespace, Cluster], int]
OK: Final = 0
UNHEALTHY: Final = 1
USAGE: Final = 2


def show_status(options: argparse.Namespace, cluster: Cluster) -> int:
    if options.watch:
        return _watch(options, cluster)
    document = status.document(cluster.snapshot(options.name))
    if options.output == "json":
        _print_json(document)
    else:
        render.show(render.console(sys.stdout), render.screen(document, datetime.now(UTC)))
    return UNHEALTHY if document["health"] == "unhealthy" else OK


def _watch(options: argparse.Namespace, cluster: Cluster) -> int:
    """Until Ctrl-C. On a terminal in place; else another screen, or another JSON line, whenever something changed."""
    out = render.console(sys.stdout)
    document = before = status.document(cluster.snapshot(options.name))
    in_place = out.is_terminal and options.output != "json"
    if not in_place:
        _print_changed(options, document)
    with (
        interrupt.noticed() as interrupted,
        Live(console=out, auto_refresh=False) if in_place else nullcontext() as live,
    ):
        while True:
            if live is not None:
                live.update(render.screen(document, datetime.now(UTC)), refresh=True)
            elif document != before:
                _print_changed(options, document)
            before = document
            if interrupted(options.interval):  # pods, events and the resource change apart from each other
                return OK
            document = _again(options, cluster, document)
            if interrupted(0):  # and so may have been the command that asked for it
                return OK


def _again(options: argparse.Namespace, cluster: Cluster, known: Json) -> Json:
    """What there is now; what was known if the cluster does not answer for a while. Raises AbsentError."""
    try:
        return status.document(cluster.snapshot(options.name))
    except (AbsentError, ForbiddenError):
        raise
    except ClusterError as error:
        return known | {"summary": f"{error} (what follows may be old)", "health": "unknown"}


def _print_changed(options: argparse.Namespace, document: Any) -> None:
    if options.output == "json":
        print(json.dumps(document), flush=True)
        return
    render.show(render.console(sys.stdout), render.screen(document, datetime.now(UTC)), Text())


def show_history(options: argparse.Namespace, cluster: Cluster) -> int:
    rows = status.history(cluster.resource(options.name))
    if options.output == "json":
        _print_json(rows)
    else:
        render.show(render.console(sys.stdout), render.history_table(rows, datetime.now(UTC), whole=True))
    return OK


def explain(options: argparse.Namespace, cluster: Cluster) -> int:
    diagnosis = why.diagnose(cluster.snapshot(options.name))
    if options.output == "json":
        _print_json(diagnosis.to_json())
    else:
        render.show(render.console(sys.stdout), render.explanation(diagnosis))
    return UNHEALTHY if diagnosis.cause.health == "unhealthy" else OK


def examine(options: argparse.Namespace, cluster: Cluster) -> int:
    checks = doctor.examine(survey(cluster))
    if options.output == "json":
        _print_json([check.to_json() for check in checks])
    else:
        rows = [(render.mark(check.state), check.name, check.text) for check in checks]
        out = render.console(sys.stdout)
        render.show(out, render.table(("", "check", "found"), rows))
        for check in checks:
            if check.next and check.state in ("bad", "warning"):
                render.show(out, Text(f"\n{check.name}: {check.next}"))
    return UNHEALTHY if any(check.state == "bad" for check in checks) else OK


def promote(options: argparse.Namespace, cluster: Cluster) -> int:
    return _act(options, cluster, decide.promote)


def abort(options: argparse.Namespace, cluster: Cluster) -> int:
    return _act(options, cluster, decide.abort)


def rollback(options: argparse.Namespace, cluster: Cluster) -> int:
    return _act(options, cluster, lambda snapshot: decide.rollback(snapshot, options.pin, options.move_alias))


def _act(options: argparse.Namespace, cluster: Cluster, decided: Callable[[Any], Action | AliasMove]) -> int:
    """Says what will happen, asks, does it."""
    snapshot = cluster.snapshot(options.name)
    action = decided(snapshot)
    out = render.console(sys.stderr)
    for warning in action.warnings:
        out.print(Text(f"warning: {warning}", style="yellow"))
    out.print(Text(f"{snapshot.namespace}/{snapshot.name}: {action.sentence}"))
    arguments = (
        decide.command(action, snapshot.name, snapshot.namespace, FIELD_MANAGER) if isinstance(action, Action) else []
    )
    if options.dry_run:
        print(shlex.join(["kubectl", *arguments]) if isinstance(action, Action) else _by_hand(action))
        return OK
    _confirm(options)
    if isinstance(action, Action):
        print(cluster.run(cluster.command(*arguments)).strip())
    else:
        print(api.move_alias(cluster, action, _tls(options)))
    print(f"watch it: kubectl fairlead status {snapshot.name} --namespace {snapshot.namespace} --watch")
    return OK


def _by_hand(move: AliasMove) -> str:
    return (
        f"curl -X PUT localhost:8000/models/{move.name}/aliases/{move.alias} "
        f"-H 'content-type: application/json' -d '{json.dumps({'version': move.version})}'"
    )


def _confirm(options: argparse.Namespace) -> None:
    """Raises RefusedError unless somebody says yes."""
    if options.yes:
        return
    if not sys.stdin.isatty():
        raise decide.RefusedError("nobody is there to confirm it: add --yes, or --dry-run to see the command")
    print("Go on? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise decide.RefusedError("nothing was changed")


def show_logs(options: argparse.Namespace, cluster: Cluster) -> int:
    selector = f"{OWNER_LABEL}={child_name(cluster.resource(options.name))}"
    if options.track != "all":
        selector += f",{TRACK_LABEL}={options.track}"
    flags = ["--all-containers", "--prefix", f"--tail={options.tail}", "--max-log-requests=100", "--ignore-errors"]
    flags += ["--follow"] if options.follow else []
    with cluster.following(cluster.scoped("logs", "--selector", selector, *flags)) as process:
        assert process.stdout is not None
        said = process.stdout if options.follow else lines.in_order(process.stdout)
        out = render.console(sys.stdout)
        for line in said:
            if options.output == "json":
                print(line, end="", flush=True)
            else:
                render.show(out, lines.pretty(line))
        return OK if process.wait() == 0 else USAGE  # kubectl has said why


def predict(options: argparse.Namespace, cluster: Cluster) -> int:
    answer = api.predict(cluster, options.name, options.file, options.candidate, _tls(options))
    if options.output == "json":
        _print_json(asdict(answer))
    else:
        render.show(render.console(sys.stdout), render.predictions(asdict(answer)))
    return OK


def _tls(options: argparse.Namespace) -> Tls:
    return Tls(options.certificate_authority, options.client_certificate, options.client_key)


def _print_json(document: Any) -> None:
    print(json.dumps(document, indent=2))


COMMANDS: Final[Mapping[str, Command]] = {
    "status": show_status,
    "why": explain,
    "history": show_history,
    "doctor": examine,
    "promote": promote,
    "abort": abort,
    "rollback": rollback,
    "logs": show_logs,
    "predict": predict,
}
