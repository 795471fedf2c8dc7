"""What a trained network has learned (paper §6).

features:   fc7's activations of a split, in a folder.
retrieval:  the nearest of them, exactly, by an index, or among binary codes.
codes:      the auto-encoder that makes short binary codes of them.
search:     all of it for a checkpoint: like images, and how often of one class.

relu_vs_tanh: epochs to 25 % training error (Figure 1).
paired:     differences between runs with the same seeds.
statistics: numbers behind figures and tables; numpy only.
figures:    their drawing, with matplotlib, which is an optional extra.
"""
