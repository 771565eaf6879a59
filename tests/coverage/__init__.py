"""torch's own table of operators, each under seven functions: ``python -m tests.coverage``."""
