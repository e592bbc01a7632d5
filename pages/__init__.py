"""Every report and page for people: words, charts, one module a report, and a writer a format."""
