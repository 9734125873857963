"""Topics, partitions, and record batches from a broker."""
