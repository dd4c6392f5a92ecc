"""`python -m tools.notes VERSION`: what CHANGELOG.md says of a version, for its release."""

import re
import sys
from pathlib import Path

CHANGELOG = Path("CHANGELOG.md")


def section(changelog: str, version: str) -> str:
    """The text below the version's heading. Raises ValueError."""
    found = re.search(rf"^## \[{re.escape(version)}\][^\n]*\n(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    if found is None:
        known = ", ".join(re.findall(r"^## \[([^\]]+)\]", changelog, re.MULTILINE))
        raise ValueError(f"CHANGELOG.md has no section [{version}]; it has {known}")
    if not found[1].strip():
        raise ValueError(f"CHANGELOG.md says nothing below [{version}]")
    return found[1].strip() + "\n"


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("usage: python -m tools.notes VERSION", file=sys.stderr)
        return 2
    try:
        print(section(CHANGELOG.read_text(), arguments[0].removeprefix("v")), end="")
    except ValueError as error:
        print(f"notes: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
