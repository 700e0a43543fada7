"""`python -m benchmarks`: how long things take, as medians of interleaved runs."""
