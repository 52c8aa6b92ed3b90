"""100 simulated days: is every real problem said, and nothing else? Run as `python -m benchmarks.accuracy`.

`truth` is what really happens, `stage` moves the world's clock and keeps the truth's books, `lives` and `troubles` are what
happens to connections and to whole sources, `observed` is the real monitor under the same clock, `judge` compares.
"""
