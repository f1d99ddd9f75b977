"""From a record to what people read: HTML, figures, CSV, and tables for the terminal and for Markdown.

matplotlib, jinja2 and rich are imported when something is drawn or printed, not before.
"""

from codesign.report.comparison import Comparison, combine, run_labels
from codesign.report.csv_export import layers_csv, layers_frame
from codesign.report.figures import save_figures
from codesign.report.tables import SummaryRow, markdown_table, summary_rows, terminal_table
from codesign.report.writing import write_comparison, write_report

__all__ = [
    "Comparison",
    "SummaryRow",
    "combine",
    "layers_csv",
    "layers_frame",
    "markdown_table",
    "run_labels",
    "save_figures",
    "summary_rows",
    "terminal_table",
    "write_comparison",
    "write_report",
]
