"""From embeddings to similarities, pseudo-labels and fused results."""
