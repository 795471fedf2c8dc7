"""The update rule and the learning-rate schedule of §5."""
