"""Images that a network finds alike (§6.1).

features    fc7's activations of a split, in a folder
neighbours  the nearest of them, exactly or by Hamming distance
codes       an auto-encoder that makes short binary codes of them
search      all of it for a checkpoint
"""
