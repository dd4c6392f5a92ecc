"""The command line of `kubectl fairlead`.

Exit codes: 0 all is well, 1 something unhealthy was found, 2 the command could not be carried out (usage, rights, no
cluster).
"""

import argparse
import sys
from collections.abc import Sequence

from fairlead_kubectl.cluster import Cluster, ClusterError
from fairlead_kubectl.commands import COMMANDS, OK, USAGE
from fairlead_kubectl.decide import RefusedError
from fairlead_kubectl.expected import VERSION
from fairlead_kubectl.reading import printable

_SHORTEST, _LONGEST = 0.2, 3600.0


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    flags.add_argument("-n", "--namespace", help="namespace of the ModelDeployment")
    flags.add_argument("--context", help="context of the kubeconfig")
    flags.add_argument("--kubeconfig", help="path of the kubeconfig")
    top = argparse.ArgumentParser(
        prog="kubectl fairlead", description="See and decide what ModelDeployments do.", parents=[flags], epilog=__doc__
    )
    top.add_argument("--version", action="version", version=VERSION)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, text: str, named: bool = True, output: bool = False) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=text, description=text, parents=[flags])
        if named:
            one.add_argument("name", metavar="NAME", help="the ModelDeployment")
        if output:
            one.add_argument("-o", "--output", choices=("text", "json"), default="text", help="(%(default)s)")
        return one

    status = add("status", "what serves, what is on trial, which pods there are, on one screen", output=True)
    status.add_argument("-w", "--watch", action="store_true", help="until Ctrl-C")
    status.add_argument("--interval", type=_seconds, default=2.0, metavar="SECONDS", help="of --watch (%(default)s)")
    add("why", "what is wrong, from the resource down to the container, and what to do", output=True)
    add("history", "what served and what was rejected, with run IDs", output=True)
    add("doctor", "whether Fairlead's installation in this cluster is what it should be", named=False, output=True)

    def add_decision(name: str, text: str) -> argparse.ArgumentParser:
        one = add(name, text)
        one.add_argument("-y", "--yes", action="store_true", help="do not ask")
        one.add_argument("--dry-run", action="store_true", help="only print the command that would do it")
        return one

    add_decision("promote", "let a canary, or a model that waits for approval, take the serving model's place")
    add_decision("abort", "take a canary back")
    rolled_back = add_decision("rollback", "go back to the model that served before")
    which = rolled_back.add_mutually_exclusive_group()
    which.add_argument("--pin", action="store_true", help="name the version in spec.model instead of an alias")
    which.add_argument("--move-alias", action="store_true", help="move the alias in MLflow, through Fairlead's API")
    logs = add("logs", "what the model's pods say, readable", output=True)
    logs.add_argument("-f", "--follow", action="store_true", help="go on with the pods that there are now")
    logs.add_argument(
        "--tail", type=int, default=50, metavar="LINES", help="of each container; -1 is all (%(default)s)"
    )
    logs.add_argument("--track", choices=("stable", "candidate", "all"), default="all", help="(%(default)s)")
    predict = add("predict", "send rows to the model's pods", output=True)
    predict.add_argument("-f", "--file", required=True, help="JSON: rows, or a /predict body; - reads standard input")
    predict.add_argument("--candidate", action="store_true", help="ask the canary alone")
    for one in (rolled_back, predict):
        _add_tls(one)
    return top


def _add_tls(command: argparse.ArgumentParser) -> None:
    """As kubectl calls them; these are about Fairlead's own ports, where they speak TLS."""
    group = command.add_argument_group("where the model's pods, or Fairlead's API, speak TLS")
    group.add_argument(
        "--certificate-authority", metavar="FILE", help="who signed their certificate; else the system's"
    )
    group.add_argument("--client-certificate", metavar="FILE", help="yours, for mutual TLS")
    group.add_argument("--client-key", metavar="FILE", help="its key")


def _seconds(text: str) -> float:
    """Of a pause that does not keep the API server busy."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not _SHORTEST <= seconds <= _LONGEST:
        raise argparse.ArgumentTypeError(f"must be a number of seconds from {_SHORTEST} to {_LONGEST}, not {text!r}")
    return seconds


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    given = [(name, getattr(options, name, None)) for name in ("context", "kubeconfig")]
    flags = tuple(part for name, value in given if value for part in (f"--{name}", value))
    cluster = Cluster(flags, getattr(options, "namespace", None))
    try:
        return COMMANDS[options.command](options, cluster)
    except (ClusterError, RefusedError) as error:
        print(f"kubectl fairlead: {printable(str(error))}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        return OK
    except BrokenPipeError:  # `| head` has seen enough
        sys.stderr.close()
        return OK
