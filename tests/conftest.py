"""Settings for every tier."""

import os

from hypothesis import settings

# Time limits measure the machine, not the code. In CI the same examples each time: a build must not fail by chance,
# and every other run looks further.
settings.register_profile("fairlead", deadline=None, derandomize="CI" in os.environ, print_blob=True)
settings.load_profile("fairlead")
