"""Checks of a data folder before a training: every fault, near copies, figures."""
