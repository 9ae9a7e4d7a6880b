"""Benchmarks: what is timed (`cases`), how (`timing`, `samples`, `devices`), and what is kept of it (`results`)."""
