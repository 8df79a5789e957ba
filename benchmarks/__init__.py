"""Throughput, scaling and compile times; a C reference of the same step."""
