"""The language server: LSP at the rim, everything else in `irene`."""
