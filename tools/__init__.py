"""Programs for those who work on Fairlead; none of this is installed with it."""
