"""What the command line and a notebook say about an estimate: tables and JSON.

`Report` is the value that all of them read. No energy is computed here: rows are sums of
priced nodes, and they add up to the printed total.
"""

from irene.report.findings import Condition, Report, report_of
from irene.report.notebook import to_html
from irene.report.schema import to_json
from irene.report.terminal import layout

__all__ = ["Condition", "Report", "layout", "report_of", "to_html", "to_json"]
