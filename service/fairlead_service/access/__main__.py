"""`python -m fairlead_service.access new --name ci --roles predict`: prints a new key, which is told nowhere else, and
the entry to put into the file."""

import argparse
import hashlib
import secrets
import sys

from pydantic import ValidationError

from fairlead_service.access.keys import Key
from fairlead_service.access.roles import Role


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m fairlead_service.access")
    new = parser.add_subparsers(required=True).add_parser("new", help="make an API key")
    new.add_argument("--name", required=True, help="whose it is, as audit lines say it")
    new.add_argument("--roles", required=True, nargs="+", choices=[role.value for role in Role])
    given = parser.parse_args(arguments)
    key = f"fl_{secrets.token_urlsafe(32)}"
    try:
        digest = hashlib.sha256(key.encode()).hexdigest()
        entry = Key(name=given.name, sha256=digest, roles=frozenset(map(Role, given.roles)))
    except ValidationError:
        parser.error("--name takes 1 to 63 letters, digits, dots, dashes and underscores")
    sys.stdout.write(f"key (keep it, it is not shown again): {key}\nentry for the file: {entry.model_dump_json()}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
