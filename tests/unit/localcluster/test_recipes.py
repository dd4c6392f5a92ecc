"""Image tags: the same for the same content, another one for any content that is in the image."""

import shutil
from pathlib import Path

import pytest

from tools.images.recipes import RECIPES
from tools.localcluster.paths import CHECKOUT


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for path in ("service/fairlead_service", "operator/fairlead_operator"):
        (tmp_path / path).mkdir(parents=True)
        (tmp_path / path / "__init__.py").write_text("")
    shutil.copy(CHECKOUT / "pyproject.toml", tmp_path)
    for recipe in RECIPES.values():
        for path in (recipe.dockerfile, recipe.requirements):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(path)
    return tmp_path


def tags(root: Path) -> dict[str, str]:
    return {name: recipe.tag("base", root) for name, recipe in RECIPES.items()}


def changed(root: Path, before: dict[str, str]) -> set[str]:
    return {name for name, tag in tags(root).items() if tag != before[name]}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("service/fairlead_service/new.py", {"service"}),
        ("operator/fairlead_operator/new.py", {"operator"}),
        ("requirements/mlflow.txt", {"mlflow"}),
        ("service/Dockerfile", {"service"}),
        ("README.md", set()),
        ("service/fairlead_service/__pycache__/x.pyc", set()),
    ],
)
def test_a_change_makes_new_tags_for_the_images_that_have_it(root: Path, path: str, expected: set[str]) -> None:
    before = tags(root)
    (root / path).parent.mkdir(exist_ok=True)
    (root / path).write_text("changed")
    assert changed(root, before) == expected


def test_only_what_is_installed_counts_of_the_project_file(root: Path) -> None:
    before = tags(root)
    project = root / "pyproject.toml"
    text = project.read_text()
    project.write_text(text.replace("line-length = 120", "line-length = 100"))
    assert changed(root, before) == set()
    project.write_text(text.replace("random_forest =", "random_woods ="))
    assert changed(root, before) == {"service", "operator"}


def test_the_base_counts(root: Path) -> None:
    for recipe in RECIPES.values():
        assert recipe.tag("a", root) != recipe.tag("b", root)
        assert recipe.reference("a", root) == f"fairlead-{recipe.name}:{recipe.tag('a', root)}"


def test_the_checkout_has_all_files_that_the_recipes_name() -> None:
    for recipe in RECIPES.values():
        assert len(recipe.tag("base")) == 12
