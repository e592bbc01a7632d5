"""One row of the rubric: its arms compared, its margins at a boundary, its looks, its state, and why."""
