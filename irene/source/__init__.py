"""The text half: libcst, never torch; never runs user code."""
