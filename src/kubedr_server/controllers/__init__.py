"""The reconcilers, one module a kind: gather, decide, apply."""
