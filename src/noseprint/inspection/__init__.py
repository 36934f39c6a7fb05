"""A look at a data folder before a training: every fault, copies, turned photographs, figures."""
