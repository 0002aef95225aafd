"""The report: one self-contained HTML page with the leaderboard, players, plots, and where each number came from.

    from evaluation.report import ReportData, write_report
    write_report(ReportData(corpus=..., rows=..., metrics=...), folder)    # -> folder/index.html

page.py says what goes in, sections.py turns it into what the templates show, plots.py and players.py draw.
"""

from evaluation.report.page import ReportData, write_report

__all__ = ["ReportData", "write_report"]
