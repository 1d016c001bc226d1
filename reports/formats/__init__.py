"""The formats of a report: text, data files and the page."""
