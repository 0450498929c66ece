"""Meters of energy, each found at run time and never needed to import."""
