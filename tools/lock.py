"""`make lock`: compiles requirements/*.txt from pyproject.toml; with --check says whether they are up to date."""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

UV = Path(".fairlead/uv/bin/uv")
REQUIREMENTS = Path("requirements")
EXTRAS = ("service", "operator", "mlflow")
COMPILE = (
    str(UV), "pip", "compile", "pyproject.toml", "--universal", "--generate-hashes", "--python-version", "3.11",
    "--quiet", "--no-emit-index-url", "--no-emit-find-links", "--custom-compile-command", "make lock",
)  # fmt: skip


def compile_into(directory: Path) -> None:
    """Compiles all files into directory. What stands there already is kept where it still satisfies pyproject.toml;
    dev.txt holds everything, and the others take their versions from it, so all images agree."""
    dev = directory / "dev.txt"
    subprocess.run([*COMPILE, "--all-extras", "-o", str(dev)], check=True)
    for extra in EXTRAS:
        output = str(directory / f"{extra}.txt")
        subprocess.run([*COMPILE, "--extra", extra, "-c", str(dev), "-o", output], check=True)


def pins(path: Path) -> list[str]:
    """The lines that decide what is installed, without comments."""
    return [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]


def stale() -> list[Path]:
    """The files that `make lock` would change."""
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch)
        for path in REQUIREMENTS.glob("*.txt"):
            shutil.copy(path, copy)
        compile_into(copy)
        return [path for path in sorted(REQUIREMENTS.glob("*.txt")) if pins(path) != pins(copy / path.name)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail if a file is out of date")
    if not parser.parse_args().check:
        compile_into(REQUIREMENTS)
        return 0
    outdated = stale()
    for path in outdated:
        print(f"{path} is not what pyproject.toml asks for: run `make lock` and commit it", file=sys.stderr)
    return 1 if outdated else 0


if __name__ == "__main__":
    sys.exit(main())
