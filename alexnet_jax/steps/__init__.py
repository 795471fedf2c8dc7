"""The compiled programs of a run: training, evaluation and probing (§4, §5).

build       all programs of a config on a mesh
state       what training changes: TrainState
train       losses, gradients, update, and the check that they are finite
evaluate    class probabilities, activations and their moments
views       the ten views of an image at once
preprocess  uint8 crops to what the network sees
metrics     cross-entropy, ranks and error rates
"""
