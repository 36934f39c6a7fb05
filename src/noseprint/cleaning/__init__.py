"""Cleaning a data set with wrong labels: what is suspect, what was decided, and the table that follows from it."""
