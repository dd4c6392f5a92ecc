"""Release notes are what the changelog says of a version, and nothing else."""

from pathlib import Path

import pytest

from tools.notes import main, section

CHANGELOG = """# Changelog

## [Unreleased]

## [0.2.0] - 2026-12-01

### Added

- Two.

## [0.1.0] - 2026-11-01

- One.
"""


def test_a_section_ends_where_the_next_begins() -> None:
    assert section(CHANGELOG, "0.2.0") == "### Added\n\n- Two.\n"
    assert section(CHANGELOG, "0.1.0") == "- One.\n"


@pytest.mark.parametrize(("version", "said"), [("0.3.0", "it has Unreleased, 0.2.0, 0.1.0"), ("Unreleased", "nothing")])
def test_what_is_not_there_is_an_error(version: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        section(CHANGELOG, version)


def test_the_projects_own_changelog_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert Path("CHANGELOG.md").exists()
    assert main(["Unreleased"]) == 0
    assert "### " in capsys.readouterr().out
    assert main(["v99.0.0"]) == 1
    assert main([]) == 2
