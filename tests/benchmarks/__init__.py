"""Benchmarks: what the project reaches beside a bare client, in one interleaved run."""
