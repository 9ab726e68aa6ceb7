"""A run, or several side by side, as one HTML page that opens from disk without a network."""

from hftune.report.page.write import PAGE, write_page

__all__ = ["PAGE", "write_page"]
