"""Samples, skaffold.yaml and generated files."""

from pathlib import Path

import pytest
import yaml

from tests.chart.rendering import CHART, ROOT, Helm, crd_validator, documents, pick
from tools import sync

SAMPLES = sorted((ROOT / "manifests/samples").glob("*.yaml"))


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_samples_fit_the_crd(path: Path) -> None:
    for manifest in documents(path):
        if manifest["kind"] == "ModelDeployment":
            assert manifest["metadata"]["namespace"] == "models"
            assert not [error.message for error in crd_validator().iter_errors(manifest)]
        else:
            assert manifest["kind"] == "Namespace"


def test_the_full_sample_has_every_field() -> None:
    crd = yaml.safe_load((ROOT / "manifests/crd.yaml").read_text())
    fields = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    (sample,) = documents(ROOT / "manifests/samples/full.yaml")
    assert sample["spec"].keys() == fields.keys() - {"autoscaling"}, "which takes the place of replicas"
    (scaled,) = documents(ROOT / "manifests/samples/autoscaled.yaml")
    assert scaled["spec"]["autoscaling"]


def test_a_mistake_in_a_sample_would_be_found() -> None:
    (sample,) = documents(ROOT / "manifests/samples/breast-cancer.yaml")
    sample["spec"]["replica"] = sample["spec"].pop("replicas")
    assert list(crd_validator().iter_errors(sample))


def test_the_samples_namespace_enforces_the_restricted_standard() -> None:
    (namespace,) = documents(ROOT / "manifests/samples/namespace.yaml")
    assert namespace["metadata"]["name"] == "models"
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_skaffold_sets_values_that_exist(helm: Helm) -> None:
    config = yaml.safe_load((ROOT / "skaffold.yaml").read_text())
    (release,) = config["deploy"]["helm"]["releases"]
    images = {artifact["image"]: artifact for artifact in config["build"]["artifacts"]}
    values = []
    for key, template in release["setValueTemplates"].items():
        component, _, field = key.partition(".image.")
        variable = {"registry": "DOMAIN", "repository": "REPO_NO_DOMAIN", "tag": "TAG"}[field]
        assert template == f"{{{{.IMAGE_{variable}_fairlead_{component}}}}}"
        assert f"fairlead-{component}" in images
        values.append(
            f"{key}={'' if field == 'registry' else f'fairlead-{component}' if field == 'repository' else 'dev'}"
        )
    manifests = helm.template(CHART, "--set", ",".join(values))
    for forward in config["portForward"]:
        ports = pick(manifests, "Service", forward["resourceName"])["spec"]["ports"]
        assert forward["port"] in [port["port"] for port in ports]
    used = {
        container["image"]
        for manifest in manifests
        if manifest["kind"] == "Deployment"
        for container in manifest["spec"]["template"]["spec"]["containers"]
    }
    assert used == {f"{image}:dev" for image in images}


def test_generated_files_are_in_sync(capsys: pytest.CaptureFixture[str]) -> None:
    assert sync.main(["--check"]) == 0, capsys.readouterr().out


def test_check_finds_what_is_out_of_date_and_sync_mends_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path, text in sync.generated(ROOT).items():
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(text)
    for source in ("manifests/crd.yaml", "manifests/operator-rules.yaml", "manifests/argocd/health.lua"):
        (tmp_path / source).write_text((ROOT / source).read_text())
    for chart in sync.CHARTS:
        (tmp_path / chart / "values.yaml").write_text((ROOT / chart / "values.yaml").read_text())
    changed = (ROOT / "manifests/crd.yaml").read_text() + "# changed\n"
    (tmp_path / "manifests/crd.yaml").write_text(changed)
    orphan = tmp_path / "charts/fairlead/files/dashboards/model.json"
    assert sync.main(["--check"], tmp_path) == 1
    assert "files/crd.yaml is out of date" in capsys.readouterr().out
    assert orphan.exists()
    assert sync.main([], tmp_path) == 0
    assert (tmp_path / "charts/fairlead/files/crd.yaml").read_text() == changed
    assert not orphan.exists(), "a copy whose source is gone goes too"
    assert sync.main(["--check"], tmp_path) == 0


def test_values_tables_take_wrapped_comments_and_nested_defaults() -> None:
    text = 'a:\n  # -- One\n  # two.\n  b: {c: 1}\n# not described\nd: 2\n# -- Empty.\ne: ""\n'
    assert list(sync.described_values(text)) == [
        sync.Value("a.b", "{c: 1}", "One two."),
        sync.Value("e", '""', "Empty."),
    ]
