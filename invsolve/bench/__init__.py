"""The benchmark: many pictures, tasks and methods; results that survive interruption; a table and a report."""
