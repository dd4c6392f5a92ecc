"""`python -m fairlead_operator`. Whoever ends it in its first moments, before anybody listens for signals, has ended it
well; and as the first process of a container it would not be ended at all. So this comes before the imports, which take
a second."""

import signal
import sys


def _end(*_: object) -> None:
    sys.exit(0)


def main() -> int:
    signal.signal(signal.SIGTERM, _end)
    from fairlead_operator import program

    return program.main()


if __name__ == "__main__":
    sys.exit(main())
