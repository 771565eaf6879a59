"""Function transforms and simplification: pb in, pb out."""
