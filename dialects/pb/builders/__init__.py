"""The builder in parts, one for each family of ops; `builder.py` joins them."""
