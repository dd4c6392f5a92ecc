"""A real PostgreSQL (Debian's) and a real S3 (versitygw, which checks signatures), both with TLS, both of our own."""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import psycopg
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tools.localcluster import binaries, packages
from tools.localcluster.certificates import Authority, Certificate
from tools.localcluster.controlplane import free_port

START_TIMEOUT = 60.0
PASSWORD = "p@ss/word: 100%"
"""Everything that a URI would have to quote."""


def authority(directory: Path) -> Authority:
    """An authority that has signed a certificate `server` for this machine."""
    made = Authority(directory)
    made.make([Certificate("server", "localhost", alternative_names=("localhost", "127.0.0.1"))])
    return made


@dataclass(frozen=True)
class Postgresql:
    port: int

    def execute(self, database: str, *statements: str) -> list[tuple[Any, ...]]:
        """Runs statements as the superuser, each in a transaction of its own; rows of the last one."""
        connection = psycopg.connect(
            host="localhost", port=self.port, dbname=database, user="postgres", password=PASSWORD
        )
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def create(self, database: str) -> None:
        """A database of the user `mlflow`, who is no superuser."""
        self.execute("postgres", f"CREATE DATABASE {database} OWNER mlflow")


@contextlib.contextmanager
def postgresql(tls: Authority) -> Iterator[Postgresql]:
    """PostgreSQL on a free port of this machine, as another user if we are root, which it refuses to be."""
    packages.ensure(packages.POSTGRESQL)
    found = packages.which("initdb")
    assert found is not None
    programs = Path(found).resolve().parent
    home = Path(
        tempfile.mkdtemp(prefix="fairlead-postgresql-")
    )  # pytest's own directories are open to their owner only
    (home / "password").write_text(PASSWORD)
    for name in ("server.crt", "server.key"):
        shutil.copy(tls.directory / name, home)
    (home / "server.key").chmod(0o600)
    account = _unprivileged(home)
    port = free_port()
    options = {
        "listen_addresses": "localhost", "port": port, "unix_socket_directories": "", "fsync": "off", "ssl": "on",
        "ssl_cert_file": home / "server.crt", "ssl_key_file": home / "server.key",
    }  # fmt: skip
    initialize = [programs / "initdb", "--no-sync", "--no-instructions", "--auth=scram-sha-256", "--username=postgres"]
    initialize += [f"--pwfile={home}/password", "--encoding=UTF8", "--locale=C", f"--pgdata={home}/data"]
    try:
        subprocess.run(initialize, check=True, capture_output=True, cwd=home, **account)
        command = [programs / "postgres", "-D", home / "data"]
        command += [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        with _process(command, home / "log", cwd=home, **account) as process:
            server = Postgresql(port)
            create = f"CREATE ROLE mlflow LOGIN PASSWORD '{PASSWORD}'"
            _await(lambda: server.execute("postgres", create), psycopg.OperationalError, process, home / "log")
            yield server
    finally:
        shutil.rmtree(home)


@dataclass(frozen=True)
class S3:
    endpoint: str
    ca: Path
    access_key: str = "fairlead"
    secret_key: str = "an+S3/secret"

    def client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="eu-central-1",
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            verify=str(self.ca),
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
        )

    def keys(self, bucket: str) -> set[str]:
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return {one["Key"] for page in pages for one in page.get("Contents", [])}


@contextlib.contextmanager
def s3(tls: Authority, home: Path) -> Iterator[S3]:
    """An S3 on a free port with a bucket `models`."""
    program = binaries.ensure(["versitygw"])["versitygw"]
    port = free_port()
    for name in ("objects", "attributes"):
        (home / name).mkdir(parents=True)
    made = S3(f"https://localhost:{port}", tls.certificate)
    command = [program, "--port", f"localhost:{port}", "--region", "eu-central-1", "--quiet"]
    command += ["--cert", tls.directory / "server.crt", "--key", tls.directory / "server.key"]
    command += ["posix", "--sidecar", home / "attributes", home / "objects"]  # not every file system has attributes
    environment = {"ROOT_ACCESS_KEY_ID": made.access_key, "ROOT_SECRET_ACCESS_KEY": made.secret_key}
    with _process(command, home / "log", env=environment) as process:
        create = made.client().create_bucket
        location = {"LocationConstraint": "eu-central-1"}
        _await(
            lambda: create(Bucket="models", CreateBucketConfiguration=location),
            (BotoCoreError, ClientError),
            process,
            home / "log",
        )
        yield made


def _unprivileged(home: Path) -> dict[str, Any]:
    """Arguments with which subprocess runs programs as `nobody`, who gets home; none if we are not root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    for path in (home, *home.iterdir()):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


@contextlib.contextmanager
def _process(command: list[Any], log: Path, **arguments: Any) -> Iterator["subprocess.Popen[bytes]"]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, **arguments)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)  # PostgreSQL's fast shutdown; SIGKILL would leave its shared memory
        process.wait(30)


def _await(
    attempt: Callable[[], object],
    errors: type[Exception] | tuple[type[Exception], ...],
    process: "subprocess.Popen[bytes]",
    log: Path,
) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        try:
            attempt()
        except errors as error:
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"{process.args!r} does not answer: {error}\n{log.read_text()[-4000:]}")
            time.sleep(0.05)  # polling a process that is not ours; it gives no other sign
        else:
            return
