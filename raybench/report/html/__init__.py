"""`report.html`: the report of a run as one page that opens from disk, with figures, without a network.

`inputs.py` reads the tables, `figures/` draws them, `svg.py` puts a figure into the page, `leaderboard_table.py`,
`methods.py` and `provenance.py` write its text, and `page.py` orders the sections.
"""

from raybench.report.html.inputs import RunFrames, read_frames
from raybench.report.html.page import as_html

__all__ = ["RunFrames", "as_html", "read_frames"]
