"""`python -m fairlead_kubectl`, the same as `kubectl fairlead`."""

import sys

from fairlead_kubectl.cli import main

sys.exit(main())
