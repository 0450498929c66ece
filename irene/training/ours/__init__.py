"""The predictor with nothing run: measured cells to the coefficients of `irene.energy.predicted`."""
