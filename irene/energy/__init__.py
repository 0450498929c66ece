"""From a trace to joules."""
