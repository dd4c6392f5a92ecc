"""Command-line programs for the people who work on Fairlead; the Makefile calls them."""
