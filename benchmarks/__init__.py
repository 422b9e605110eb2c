"""Timings of automigrate beside other tools: `python -m benchmarks`."""
