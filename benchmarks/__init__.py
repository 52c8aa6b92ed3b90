"""The figures that docs/performance.md shows. Run all with `make bench`."""
