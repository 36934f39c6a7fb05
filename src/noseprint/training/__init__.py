"""The training loop. It knows how to train; a task (`noseprint.tasks`) says what is trained."""
