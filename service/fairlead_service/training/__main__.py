"""`python -m fairlead_service.training --request DIR --bundle DEST`: one training as a process of its own."""

import argparse
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from fairlead_service import wire
from fairlead_service.contract import TrainingReason
from fairlead_service.loading import process
from fairlead_service.loading.errors import LoadError
from fairlead_service.loading.tracking import TrackingServer
from fairlead_service.observability import stages
from fairlead_service.training import request, trainer
from fairlead_service.training.errors import CancelledError, TrainingError

PROGRAM: Final = "fairlead-trainer"
"""What logs and spans call this process."""


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m fairlead_service.training", description=__doc__)
    parser.add_argument("--request", required=True, type=Path, help="directory with request.json and data.npy")
    parser.add_argument("--bundle", required=True, type=Path, help="directory to write")
    options = parser.parse_args(arguments)
    channel = wire.Channel.take_stdout(PROGRAM)
    process.log(PROGRAM, environment)
    signal.signal(signal.SIGTERM, _cancel)
    try:
        with stages.recorded(PROGRAM, "train in a child", environment):
            found = _run(options, environment, channel)
        channel.send(wire.Result(value=found))
    except TrainingError as error:
        channel.send(wire.Failure(reason=error.reason, message=error.message, where=error.where))
        return 1
    except (CancelledError, KeyboardInterrupt):
        channel.send(wire.Failure(reason=TrainingReason.CANCELLED, message="the training was cancelled"))
        return 1
    except Exception as error:  # the last line of defence: whoever waits must be told
        message = f"{type(error).__name__}: {error}"
        channel.send(wire.Failure(reason=TrainingReason.TRAINING_FAILED, message=message))
        return 1
    return 0


def _run(options: argparse.Namespace, environment: Mapping[str, str], channel: wire.Channel) -> dict[str, Any]:
    def progress(stage: str, message: str) -> None:
        channel.send(wire.Progress(stage=stage, message=message))

    with stages.stage("read"):
        asked, x = request.read(options.request)
    try:
        server = TrackingServer.from_environment(environment)
    except LoadError as error:
        raise TrainingError(TrainingReason.TRACKING_SERVER_UNAVAILABLE, error.message) from error
    return trainer.train(asked, x, options.bundle, server, progress)


def _cancel(signum: int, frame: object) -> NoReturn:
    signal.signal(signum, signal.SIG_IGN)  # once is enough; the MLflow run still has to be ended
    raise CancelledError


if __name__ == "__main__":
    process.hurry()
    process.leave(main(sys.argv[1:], os.environ))
