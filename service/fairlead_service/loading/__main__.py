"""`python -m fairlead_service.loading`: the loader as a program, configured by flags or by the pod's environment."""

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from fairlead_service import contract, termination, wire
from fairlead_service.contract import FailureReason
from fairlead_service.failures import LoadError
from fairlead_service.loading import loader, memory, process
from fairlead_service.loading.cache import loads, question
from fairlead_service.loading.cache.backend import CacheError
from fairlead_service.loading.cache.loads import BundleCache
from fairlead_service.loading.cache.settings import CacheSettings
from fairlead_service.loading.loader import LoadOptions
from fairlead_service.loading.source import MlflowSource
from fairlead_service.loading.versions import VersionPolicy
from fairlead_service.models.bundle import Bundle
from fairlead_service.observability import stages
from fairlead_service.tracking import TrackingClient, TrackingServer

PROGRAM: Final = "fairlead-loader"
"""What logs and spans call this process."""
ENV_MAX_MODEL_BYTES: Final = "FAIRLEAD_MAX_MODEL_BYTES"
ENV_MEMORY_LIMIT: Final = "FAIRLEAD_MEMORY_LIMIT"
"""Bytes, instead of the container's own limit: for a server in a smaller one than its loader."""


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    options = _parser(environment).parse_args(arguments)
    channel = wire.Channel.take_stdout(PROGRAM)
    process.log(PROGRAM, environment)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that half a download is removed
    try:
        with stages.recorded(PROGRAM, "load in a child", environment):
            found = _run(options, environment, channel)
    except LoadError as error:
        return _fail(channel, environment, error.reason, error.message)
    except Exception as error:  # the last line of defence: whoever waits must be told
        return _fail(channel, environment, FailureReason.LOAD_FAILED, f"{type(error).__name__}: {error}")
    channel.send(wire.Result(value=_summary(found)))
    return 0


def _run(options: argparse.Namespace, environment: Mapping[str, str], channel: wire.Channel) -> Bundle:
    def progress(stage: str, message: str) -> None:
        channel.send(wire.Progress(stage=stage, message=message))

    destination = Path(options.bundle)
    wanted = LoadOptions(
        run_id=options.run_id or None,
        name=options.name or None,
        version=options.version or None,
        allow_pickle=options.allow_pickle,
        version_policy=VersionPolicy(options.version_policy),
        max_bytes=options.max_bytes,
        memory_limit=options.memory_limit,
    )
    there = loader.reuse(options.model_uri, destination, wanted)
    if there is not None:
        progress("fetch", f"{destination} already holds {options.model_uri}; nothing is fetched")
        return there
    with contextlib.ExitStack() as opened:

        def source() -> MlflowSource:
            client = TrackingClient(TrackingServer.from_environment(environment))
            return MlflowSource(opened.enter_context(client))

        def fetch(uri: str, asked: LoadOptions) -> Bundle:
            scratch = Path(options.scratch) if options.scratch else None
            return loader.load(uri, destination, source(), asked, progress, scratch)

        cache = _cache(environment, channel)
        if cache is None:
            return fetch(options.model_uri, wanted)
        if question.pinned(options.model_uri, wanted):
            return cache.load(options.model_uri, destination, wanted, fetch)
        version = loads.version_of(options.model_uri, wanted, source())
        return cache.load(version[0], destination, version[1], fetch) if version else fetch(options.model_uri, wanted)


def _cache(environment: Mapping[str, str], channel: wire.Channel) -> BundleCache | None:
    """None without one, or with one whose settings make no sense: that is said, and the load goes on."""

    def report(outcome: wire.CacheOutcome, message: str) -> None:
        channel.send(wire.Progress(stage="cache", message=message, cache=outcome))

    try:
        found = CacheSettings.from_environment(environment)
        if found is None:
            return None
        return BundleCache(found.backend(), report, found.signing_key, found.wait_seconds)
    except Exception as error:  # CacheError, or what a library raises for settings that it does not take
        shown = str(error) if isinstance(error, CacheError) else type(error).__name__
        report("error", f"the load goes on without the cache: {shown}")
        return None


def _parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m fairlead_service.loading", description=__doc__)

    def add(flag: str, variable: str, **settings: Any) -> None:
        own = settings.pop("default", None)
        default = environment.get(variable) or own
        required = settings.pop("required", False) and default is None
        parser.add_argument(flag, default=default, required=required, **settings)

    add("--model-uri", contract.ENV_MODEL_URI, required=True, help="runs:/…, models:/…")
    add("--bundle", contract.ENV_BUNDLE_DIR, required=True, help="directory to write")
    add("--run-id", contract.ENV_RUN_ID, help="the run the model must be from")
    add("--name", contract.ENV_MODEL_NAME, help="registered model, for the record")
    add("--version", contract.ENV_MODEL_VERSION, help="its version, for the record")
    policies = [policy.value for policy in VersionPolicy]
    add("--version-policy", contract.ENV_VERSION_POLICY, default=VersionPolicy.MINOR.value, choices=policies)
    add("--max-bytes", ENV_MAX_MODEL_BYTES, default=loader.DEFAULT_MAX_BYTES, type=int, help="limit of model size")
    add("--memory-limit", ENV_MEMORY_LIMIT, default=memory.limit(), type=int, help="bytes the model may take to load")
    parser.add_argument("--scratch", help="a directory for files of the load, which whoever starts this removes")
    allowed = environment.get(contract.ENV_ALLOW_PICKLE, "").lower() in ("1", "true")
    parser.add_argument("--allow-pickle", action="store_true", default=allowed, help="run the code inside a pickle")
    return parser


def _summary(found: Bundle) -> dict[str, Any]:
    manifest, identity = found.manifest, found.manifest.identity
    return {
        "bundle": str(found.directory),
        "run_id": identity.run_id,
        "model_uri": identity.model_uri,
        "model_id": identity.model_id,
        "model_name": identity.name,
        "model_version": identity.version,
        "backend": manifest.backend,
        "estimator": manifest.estimator,
        "task": manifest.task,
        "n_features": manifest.n_features,
        "proof": manifest.proof.verdict,
    }


def _fail(channel: wire.Channel, environment: Mapping[str, str], reason: FailureReason, message: str) -> int:
    channel.send(wire.Failure(reason=reason, message=message))
    log = Path(environment.get(contract.ENV_TERMINATION_LOG, contract.TERMINATION_LOG))
    termination.write(log, reason, message, environment.get(contract.ENV_RUN_ID))
    return 1


if __name__ == "__main__":
    process.hurry()
    process.leave(main(sys.argv[1:], os.environ))
