"""The editor's rim: what LSP asks, answered from `analysis` and `session`; no logic of its own."""
