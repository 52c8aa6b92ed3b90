"""The figures that docs/performance.md shows: `make bench`. `benchmarks.quiet` plays simulated days and judges what is said."""
