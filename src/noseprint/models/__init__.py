"""Networks: backbone, descriptors, embedding, weights."""
