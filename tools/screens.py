"""What people see, recorded from the running system: terminals as SVG, the status page as PNG.

    python -m tools.screens terminal docs/images/status.svg -- kubectl fairlead status fraud -n fraud-team
    python -m tools.screens page docs/images/status-page.png http://127.0.0.1:8000/

The command runs on a terminal of its own, so it shows the colours and widths that it shows a person.
"""

import argparse
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

from rich.console import Console
from rich.text import Text
from selenium.webdriver.support.ui import WebDriverWait

from tools import browser

COLUMNS, LINES = 118, 60
PATIENCE_SECONDS = 20
# rich's own format without its fonts from the network, which a page that shows the picture does not load anyway
FORMAT = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: ui-sans-serif, Arial, sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def recorded(command: list[str]) -> str:
    """Everything that a command writes to a terminal, with the codes for its colours."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(COLUMNS), "LINES": str(LINES)}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    written = b""
    while True:
        try:
            chunk = os.read(ours, 65536)
        except OSError:  # how Linux tells that nobody holds the other end any more
            break
        if not chunk:
            break
        written += chunk
    os.close(ours)
    process.wait()
    return written.decode(errors="replace").replace("\r\n", "\n")


def draw(command: list[str], said: str, file: Path) -> None:
    """The prompt with the command, and what it said."""
    with open(os.devnull, "w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True, color_system="truecolor")
        console.print(Text.from_ansi(f"$ {' '.join(command)}\n{said.rstrip()}"))
    file.write_text(console.export_svg(title=" ".join(command[:3]), code_format=FORMAT, unique_id=file.stem))


def photograph(url: str, file: Path) -> None:
    """The status page of a server that serves, when it has drawn what it loads."""
    with browser.opened() as chromium:
        chromium.get(url)
        WebDriverWait(chromium, PATIENCE_SECONDS).until(
            lambda page: page.execute_script("return document.getElementById('state')?.textContent") == "serving"
        )
        browser.photograph(chromium, file, browser.SIZE[0])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.screens", description=__doc__)
    ways = parser.add_subparsers(dest="way", required=True)
    terminal = ways.add_parser("terminal", help="a command's output as SVG")
    terminal.add_argument("file", type=Path)
    terminal.add_argument("words", nargs="+", metavar="command")
    page = ways.add_parser("page", help="a page as PNG")
    page.add_argument("file", type=Path)
    page.add_argument("url")
    chosen = parser.parse_args()
    if chosen.way == "page":
        photograph(chosen.url, chosen.file)
    else:
        draw(chosen.words, recorded(chosen.words), chosen.file)
    print(f"screens: {chosen.file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
