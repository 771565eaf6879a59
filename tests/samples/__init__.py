"""Samples by family; `op_samples.py` joins them into the one table."""
