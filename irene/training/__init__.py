"""Measured data to predictors: the paper's system, and one that is better with nothing run."""
