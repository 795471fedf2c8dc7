"""Images that a network finds alike (§6.1).

features    extracts fc7's activations of a split into a folder
neighbours  finds the nearest of them, by Euclidean or Hamming distance
codes       trains an auto-encoder that turns them into short binary codes
search      does all of it for a checkpoint
"""
