"""Error rates of trained networks on a split of a data set (§4.1, §6).

predict      one, nine or ten views of every image, averaged
predictions  their results image by image, in memory and in files
ensemble     averages over several networks
load         a checkpoint as a network that is ready to use
"""
