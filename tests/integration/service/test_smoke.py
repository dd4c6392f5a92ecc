"""The script of `helm test`, as its pod runs it, against real servers."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.service.conftest import ServerProcess, StartServer
from tests.pki import Authority
from tests.unit.service.support import RUN_A, tree, write_bundle
from tools.localcluster.controlplane import free_port

SCRIPT = (Path(__file__).resolve().parents[3] / "charts/fairlead/files/smoke.py").read_text()
KEYS = {"mine": ["predict"], "trainer": ["train"]}


def smoke(*words: str, credential: str = "", **environment: str) -> tuple[int, str]:
    """Its exit code, and what it said."""
    given = {"PATH": os.environ["PATH"], "CREDENTIAL": credential} | environment
    command = [sys.executable, "-c", SCRIPT, "--patience", "0", *words]
    done = subprocess.run(command, env=given, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout


@pytest.fixture(scope="module")
def predictor(start_server: StartServer, bundle: Path) -> ServerProcess:
    return start_server(fairlead_role="predictor", fairlead_bundle_dir=bundle)


@pytest.fixture(scope="module")
def guarded(start_server: StartServer, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> ServerProcess:
    """A server with keys, whose names are the keys."""
    keys = tmp_path_factory.mktemp("keys") / "keys.json"
    entries = [
        {"name": key, "sha256": hashlib.sha256(key.encode()).hexdigest(), "roles": roles} for key, roles in KEYS.items()
    ]
    keys.write_text(json.dumps(entries))
    return start_server(fairlead_role="predictor", fairlead_bundle_dir=bundle, fairlead_api_keys_file=keys)


def test_the_model_is_asked_its_own_example(predictor: ServerProcess) -> None:
    code, said = smoke("--plain", predictor.url, "--api", predictor.url)
    assert code == 0, said
    assert f"ok  GET {predictor.url}/health" in said
    assert f"run {RUN_A} serves" in said
    assert "/predict of 4 rows (its input example): [0, 0, 1, 1]" in said


def test_without_an_example_it_is_asked_zeros(start_server: StartServer, tmp_path: Path) -> None:
    bare = write_bundle(tmp_path / "bundle", tree(), input_example=None).directory
    server = start_server(fairlead_role="predictor", fairlead_bundle_dir=bare)
    code, said = smoke("--api", server.url)
    assert code == 0, said
    assert "/predict of 1 rows (zeros; the model was logged without an input example): [0]" in said


def test_no_model_is_no_failure_and_said(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server(fairlead_role="api", fairlead_data_dir=tmp_path, mlflow_tracking_uri="http://127.0.0.1:9")
    code, said = smoke("--plain", server.url, "--api", server.url)
    assert code == 0, said
    assert said.splitlines()[-1].startswith("--  no model is loaded, so none is asked: train or load one")


def test_a_key_is_used(guarded: ServerProcess) -> None:
    code, said = smoke("--api", guarded.url, "--auth", credential="mine\n")
    assert code == 0, said
    assert "(its input example)" in said


def test_without_a_key_it_sees_that_one_is_asked_for(guarded: ServerProcess) -> None:
    code, said = smoke("--api", guarded.url, "--auth")
    assert code == 0, said
    assert "ok  the API asks for a key or a token" in said
    assert "set tests.credential.secretName" in said


@pytest.mark.parametrize(
    ("credential", "reason"),
    [
        ("another", "FAILED  the API does not know the key of tests.credential"),
        ("trainer", "FAILED  the key of tests.credential may not predict; give it the role predict"),
    ],
)
def test_a_wrong_key_fails_and_says_why(guarded: ServerProcess, credential: str, reason: str) -> None:
    code, said = smoke("--api", guarded.url, "--auth", credential=credential)
    assert code == 1
    assert said.splitlines()[-1].startswith(reason)


def test_an_api_that_asks_nobody_fails_where_it_should_ask(predictor: ServerProcess) -> None:
    code, said = smoke("--api", predictor.url, "--auth")
    assert code == 1
    assert "FAILED  api.auth is set, but" in said
    assert "without a key is answered 200" in said


def test_a_server_that_is_not_there_fails() -> None:
    code, said = smoke("--plain", f"http://127.0.0.1:{free_port()}")
    assert code == 1
    assert "does not answer" in said.splitlines()[-1]
    assert "refused" in said


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"), "authority")


def mount(directory: Path, certificate: Path, key: Path | None = None) -> str:
    """As kubelet mounts a Secret, or one key of it."""
    directory.mkdir()
    (directory / "tls.crt").write_bytes(certificate.read_bytes())
    if key is not None:
        (directory / "tls.key").write_bytes(key.read_bytes())
    return str(directory)


def test_by_tls_only_the_certificate_of_the_secret_is_trusted(
    start_server: StartServer, bundle: Path, authority: Authority, tmp_path: Path
) -> None:
    own, other = authority.issue("api", "api.example.org"), authority.issue("other", "api.example.org")
    server = start_server(
        fairlead_role="predictor", fairlead_bundle_dir=bundle, fairlead_tls_port=0,
        fairlead_tls_cert_file=own.certificate, fairlead_tls_key_file=own.key,
    )  # fmt: skip
    url = f"https://127.0.0.1:{server.wait_for(event='started')['port']}"
    code, said = smoke("--plain", server.url, "--api", url, "--certificate", mount(tmp_path / "a", own.certificate))
    assert code == 0, said
    assert f"POST {url}/predict of 4 rows" in said
    code, said = smoke("--api", url, "--certificate", mount(tmp_path / "b", other.certificate))
    assert code == 1
    assert "certificate" in said.splitlines()[-1]


def test_mutual_tls_takes_a_certificate_of_the_tests(
    start_server: StartServer, bundle: Path, authority: Authority, tmp_path: Path
) -> None:
    own, client = authority.issue("mutual", "localhost"), authority.issue("client")
    server = start_server(
        fairlead_role="predictor", fairlead_bundle_dir=bundle, fairlead_tls_port=0,
        fairlead_tls_cert_file=own.certificate, fairlead_tls_key_file=own.key,
        fairlead_tls_client_ca_file=authority.path,
    )  # fmt: skip
    url = f"https://127.0.0.1:{server.wait_for(event='started')['port']}"
    certificate = ("--certificate", mount(tmp_path / "a", own.certificate))
    mine = mount(tmp_path / "b", client.certificate, client.key)
    code, said = smoke("--api", url, *certificate, "--client-certificate", mine)
    assert code == 0, said
    assert "(its input example)" in said
    code, said = smoke("--api", url, *certificate)
    assert code == 1
    assert "does not answer" in said.splitlines()[-1]
    code, said = smoke("--plain", server.url)  # what the chart has it do without a certificate
    assert code == 0, said
    assert "set tests.clientCertificate.secretName" in said


def test_mlflow_is_asked_by_its_name_and_with_our_user(mlflow_server: str) -> None:
    code, said = smoke("--mlflow", mlflow_server, MLFLOW_TRACKING_USERNAME="u", MLFLOW_TRACKING_PASSWORD="p")
    assert code == 0, said
    assert f"ok  GET {mlflow_server}/api/2.0/mlflow/experiments/search" in said
