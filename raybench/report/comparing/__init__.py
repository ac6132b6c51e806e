"""Several runs side by side: those of one scenario and protocol in one table, all others apart, with the reason.

`run_summary.py` reads a run, `scenarios.py` says which runs are comparable and why others are not, `differences.py`
computes differences of a method between runs, and `table.py`, `page.py` and `terminal.py` show the result.
"""
