"""What a training is about: each task tells `fit` its data, its loss, and which weights to keep."""
