"""Predictors fitted to measurements of one machine: a trace to joules, nothing run.

Physics first (`formula`), a learned correction of its logarithm on top (`process`), an
interval around both. Needs numpy alone, and loads it when a predictor is first used.
"""
