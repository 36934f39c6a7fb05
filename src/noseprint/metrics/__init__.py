"""How good embeddings are: verification, retrieval, and 95 % intervals."""
