"""One file per node, in the order of the graph."""
