"""MLIR dialects of pullback; the bindings import `pullback.dialects.<namespace>` by themselves."""
