"""Networks: trunk, descriptors, embedding, weights."""
