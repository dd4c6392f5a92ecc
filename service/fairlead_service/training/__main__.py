"""`python -m fairlead_service.training`: a training as a process of its own (`train --request DIR --bundle DEST`), the
body of its request before that, where it is long (`decode`), what can be trained (`describe`), and the last word on
runs that nobody will end any more (`interrupted RUN_ID…`)."""

import argparse
import errno
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from fairlead_service import wire
from fairlead_service.contract import TrainingReason
from fairlead_service.failures import LoadError
from fairlead_service.loading import client, process
from fairlead_service.observability import stages
from fairlead_service.tracking import TrackingServer
from fairlead_service.training import algorithms, metrics, recording, request, trainer
from fairlead_service.training.errors import CancelledError, TrainingError
from fairlead_service.training.progress import Reporter

PROGRAM: Final = "fairlead-trainer"
"""What logs and spans call this process."""


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    options = _parser().parse_args(arguments)
    channel = wire.Channel.take_stdout(PROGRAM)
    process.log(PROGRAM, environment)
    signal.signal(signal.SIGTERM, _cancel)
    process.end_with_parent()
    try:
        with stages.recorded(PROGRAM, f"{options.work} in a child", environment):
            found = _WORK[options.work](options, environment, channel)
        channel.send(wire.Result(value=found))
    except TrainingError as error:
        channel.send(wire.Failure(reason=error.reason, message=error.message, where=error.where))
        return 1
    except (CancelledError, KeyboardInterrupt):
        channel.send(wire.Failure(reason=TrainingReason.CANCELLED, message="the training was cancelled"))
        return 1
    except Exception as error:  # the last line of defence: whoever waits must be told
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = TrainingReason.DISK_FULL if full else TrainingReason.TRAINING_FAILED
        channel.send(wire.Failure(reason=reason, message=f"{type(error).__name__}: {error}"))
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m fairlead_service.training", description=__doc__)
    work = parser.add_subparsers(dest="work", required=True)
    train = work.add_parser("train", help="train a model")
    train.add_argument("--request", required=True, type=Path, help="directory with request.json and the data")
    train.add_argument("--bundle", required=True, type=Path, help="directory to write")
    decode = work.add_parser("decode", help="parse the body of a request")
    decode.add_argument("--request", required=True, type=Path, help="directory with body.json")
    decode.add_argument("--limits", required=True, type=json.loads, help="what a training may have at most, as JSON")
    work.add_parser("describe", help="algorithms and metrics that are installed")
    interrupted = work.add_parser("interrupted", help="end runs whose training was cut off")
    interrupted.add_argument("run_ids", nargs="+", metavar="RUN_ID")
    return parser


def _train(options: argparse.Namespace, environment: Mapping[str, str], channel: wire.Channel) -> dict[str, Any]:
    asked = request.read(options.request)
    return trainer.train(asked, options.request, options.bundle, _server(environment), Reporter(channel.send))


def _decode(options: argparse.Namespace, environment: Mapping[str, str], channel: wire.Channel) -> dict[str, Any]:
    from fairlead_service.api import train_files

    return train_files.decode(options.request, options.limits)


def _describe(options: argparse.Namespace, environment: Mapping[str, str], channel: wire.Channel) -> dict[str, Any]:
    return {"algorithms": algorithms.describe(), "metrics": metrics.describe()}


def _interrupted(options: argparse.Namespace, environment: Mapping[str, str], channel: wire.Channel) -> dict[str, Any]:
    client.prepare(_server(environment))
    for run_id in options.run_ids:
        recording.interrupt(run_id)
    return {"ended": options.run_ids}


def _server(environment: Mapping[str, str]) -> TrackingServer:
    try:
        return TrackingServer.from_environment(environment)
    except LoadError as error:
        raise TrainingError(TrainingReason.TRACKING_SERVER_UNAVAILABLE, error.message) from error


_WORK: Final[Mapping[str, Callable[[argparse.Namespace, Mapping[str, str], wire.Channel], dict[str, Any]]]] = {
    "decode": _decode,
    "train": _train,
    "describe": _describe,
    "interrupted": _interrupted,
}


def _cancel(signum: int, frame: object) -> NoReturn:
    signal.signal(signum, signal.SIG_IGN)  # once is enough; the MLflow run still has to be ended
    raise CancelledError


if __name__ == "__main__":
    process.hurry()
    process.leave(main(sys.argv[1:], os.environ))
