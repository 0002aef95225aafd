"""How fast Earshot is: `python -m benchmarks.bench` prints the whole table; rows/ holds what is in it.

bench_metrics.py and bench_s4.py look closer at what is one line there: every metric, and a layer against the papers' ways.
"""
