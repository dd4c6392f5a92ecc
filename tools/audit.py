"""`make audit`: known weaknesses of what requirements/*.txt pin, by pip-audit, which asks PyPI's advisories.

Whether a version is weak is news of the day, so this is no part of `make lint`: CI runs it on its own.
"""

import subprocess
import sys
from pathlib import Path

UV = Path(".fairlead/uv/bin/uv")
PIP_AUDIT = "pip-audit==2.9.0"
FILES = ("service", "operator", "mlflow")
"""What the images hold."""


def command(name: str) -> list[str]:
    """Nothing is installed and nothing resolved: the file has every package, with hashes. What nobody knows of is a
    failure, too: else an audit without an answer would pass."""
    options = ["--require-hashes", "--disable-pip", "--strict", "--progress-spinner", "off"]
    run = [str(UV), "tool", "run", "--from", PIP_AUDIT, "pip-audit"]
    return [*run, "--requirement", f"requirements/{name}.txt", *options]


def main() -> int:
    failed = []
    for name in FILES:
        print(f"audit: {name}", flush=True)
        if subprocess.run(command(name), check=False).returncode:
            failed.append(name)
    if failed:
        print(f"audit: {', '.join(failed)}: weak, or not told (see above)", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
