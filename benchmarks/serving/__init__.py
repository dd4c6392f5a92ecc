"""`make bench`: Fairlead's server beside what a user would pick instead, in one run, as ratios."""
