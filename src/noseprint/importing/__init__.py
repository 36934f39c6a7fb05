"""Makes a data folder from a user's own photographs: reads the source, crops boxes, splits the individuals."""
