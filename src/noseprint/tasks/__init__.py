"""What a training is about."""
