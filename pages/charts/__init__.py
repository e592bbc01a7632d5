"""A report's charts as places in a drawing: bars of rows, courses over days and looks, spreads of times."""
