"""From tables and files to batches of pixels."""
