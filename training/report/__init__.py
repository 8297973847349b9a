"""The experiment's report: from run records alone, as Markdown, CSV, plots and one HTML page."""
