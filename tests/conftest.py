"""Settings for every tier."""

import os

from hypothesis import settings

from tests.examples import EXTENDED, USUAL

# As the service does (`fairlead_service.__main__`), before numpy is imported: the models of tests are small, and
# where other programs use the cores, threads that wait for each other take three times as long as one alone.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

# Time limits measure the machine, not the code. In CI the same examples each time: a build must not fail by chance,
# and every other run looks further. `pytest --hypothesis-profile=extended` tries twenty times as many, never the same.
settings.register_profile(
    "fairlead", deadline=None, derandomize="CI" in os.environ, print_blob=True, max_examples=USUAL
)
settings.register_profile("extended", deadline=None, derandomize=False, print_blob=True, max_examples=EXTENDED)
settings.load_profile("fairlead")
