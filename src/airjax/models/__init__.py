"""Models: p(x, z, n) with their inference networks, and the parts that they are made of."""
