"""From similarities to probabilities, thresholds and decisions."""
