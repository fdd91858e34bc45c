"""Studies: grids of runs, the store of finished ones, what is estimated from them."""
