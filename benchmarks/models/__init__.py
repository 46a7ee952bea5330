"""Speed and exactness of the models: demand fit, page solver, nearest-neighbour index."""
