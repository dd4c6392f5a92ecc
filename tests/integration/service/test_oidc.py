"""A server that takes the tokens of a provider that answers over HTTP."""

from pathlib import Path

import httpx

from tests import provider
from tests.integration.service.conftest import StartServer
from tests.unit.service.support import RUN_A, X

BODY = {"features": X.tolist()}


def test_tokens_open_paths_by_their_roles_and_follow_the_providers_keys(
    start_server: StartServer, bundle: Path
) -> None:
    old, new = provider.Signer("old"), provider.Signer("new")
    with provider.serving(old) as sso:
        server = start_server(
            fairlead_role="predictor",
            fairlead_bundle_dir=bundle,
            fairlead_oidc_issuer=sso.issuer,
            fairlead_oidc_audience=provider.AUDIENCE,
            fairlead_oidc_roles_claim="groups",
            fairlead_oidc_roles='{"checkout": ["predict"], "auditors": ["train"]}',
        )
        server.wait_for(message="OpenID Connect keys were read")

        def ask(token: str | None) -> httpx.Response:
            headers = {} if token is None else {"Authorization": f"Bearer {token}"}
            with server.client() as client:
                return client.post("/predict", json=BODY, headers=headers)

        answer = ask(old.sign(sso.issuer, groups=["checkout"]))
        assert (answer.status_code, answer.json()["run_id"]) == (200, RUN_A)
        assert ask(old.sign(sso.issuer, groups=["auditors"])).status_code == 403
        assert "identity provider" in ask(None).json()["detail"]
        sso.signers = [new]
        assert ask(new.sign(sso.issuer, groups=["checkout"])).status_code == 401
        server.wait_for(message="OpenID Connect keys were read")
        assert ask(new.sign(sso.issuer, groups=["checkout"])).status_code == 200
        assert ask(old.sign(sso.issuer, groups=["checkout"])).status_code == 401
    assert ask(new.sign(sso.issuer, groups=["checkout"])).status_code == 200, "it may be away"


def test_a_server_starts_while_the_provider_is_away_and_says_so(start_server: StartServer, bundle: Path) -> None:
    with provider.serving() as gone:
        pass
    server = start_server(
        fairlead_role="predictor", fairlead_bundle_dir=bundle, fairlead_oidc_issuer=gone.issuer,
        fairlead_oidc_audience=provider.AUDIENCE,
    )  # fmt: skip
    line = server.wait_for(level="error")
    assert gone.issuer in line["message"]
    with server.client() as client:
        assert client.get("/health/ready").status_code == 200
        token = provider.Signer("any").sign(gone.issuer)
        answer = client.post("/predict", json=BODY, headers={"Authorization": f"Bearer {token}"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
