"""A mutation fuzzer: valid scans with something wrong in them, and a judge of what reading them does.

`cases.make_case` makes one from a seed and a number, `pool.Pool` judges it in a process of its own.
"""
