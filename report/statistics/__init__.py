"""The report's statistics: pure functions of arrays and numbers, in numpy and scipy. They know no metric."""
