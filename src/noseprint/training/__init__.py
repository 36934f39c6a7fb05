"""The training loop. It knows how to train; what is trained, a task tells it (`noseprint.tasks`)."""
