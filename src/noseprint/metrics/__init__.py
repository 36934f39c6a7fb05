"""How good the embeddings are, and how sure that is."""
