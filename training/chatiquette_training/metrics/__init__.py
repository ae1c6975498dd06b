"""Metric modules in the `evaluate` library's form."""
