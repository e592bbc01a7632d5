"""All rows and parts together: the verdict with its reasons, the report, and its document."""
