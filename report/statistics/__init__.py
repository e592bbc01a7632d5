"""The report's statistics: pure functions of arrays and numbers, independent of metrics."""
