"""Priors and operators of other libraries as ours, and ours as theirs. Each needs its library: an optional extra."""
