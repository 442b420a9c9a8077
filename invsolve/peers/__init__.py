"""Other zero-shot methods over the same operators and denoisers, for comparison."""
