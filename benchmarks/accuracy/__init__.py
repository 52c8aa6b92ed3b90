"""Accuracy over 100 simulated days: every real problem is notified, and nothing else. Run as `python -m benchmarks.accuracy`.

`ground_truth` records what really happens, `simulation` moves the world's clock and keeps the ground truth, `account_scenarios`
and `source_scenarios` are the scripts of single accounts and of whole sources, `monitor_run` is the real monitor under the
same clock, and `scoring` compares its alerts with the ground truth.
"""
