"""The paper's numbers, each with its section, and nothing else.

Krizhevsky, Sutskever, Hinton: "ImageNet Classification with Deep Convolutional
Neural Networks", NIPS 2012. Configs take their values from here and tests
compare with them. Numbers marked (calc) follow from the paper's by arithmetic.
"""

# §2 Data
NUM_CLASSES = 1000
IMAGE_SIZE = 256  # shorter side after resizing, then the centre square
ILSVRC2012_TRAIN_IMAGES = 1_281_167  # of the files; §2: "1.2 million"

# §3.1, Figure 1
FIGURE_1_TRAINING_ERROR = 0.25
FIGURE_1_RATIO = 6.0  # "six times faster": epochs of tanh over those of ReLU

# §3.2 Training on multiple GPUs
GPU_MEMORY = 3 * 2**30  # bytes of a GTX 580

# §3.3 Local response normalisation
LRN_N = 5
LRN_K = 2.0
LRN_ALPHA = 1e-4
LRN_BETA = 0.75

# §3.4 Overlapping pooling
POOL_SIZE = 3  # z
POOL_STRIDE = 2  # s

# §3.5 and Figure 2: the network, kernels of both columns together
COLUMNS = 2
CROP_SIZE = 224
KERNELS = {'conv1': 96, 'conv2': 256, 'conv3': 384, 'conv4': 384, 'conv5': 256}
DENSE_UNITS = 4096  # fc6 and fc7
# Figure 2 prints 253,440 for conv1, which is 55 x 48 x 96: a slip of the pen.
FIGURE_2_NEURONS = {
  'input': 150_528,
  'conv1': 253_440,
  'conv2': 186_624,
  'conv3': 64_896,
  'conv4': 64_896,
  'conv5': 43_264,
  'fc6': 4096,
  'fc7': 4096,
  'fc8': 1000,
}
# (calc) values that cross between the columns, an image forward: the maps or
# units in front of the layer; for fc8 its 1000 scores, once from each column.
FIGURE_2_EXCHANGES = {
  'conv3': 13 * 13 * 256,
  'fc6': 6 * 6 * 256,
  'fc7': 4096,
  'fc8': 2 * 1000,
}
NEURONS = 659_272  # (calc) with 55 x 55 x 96 in conv1; the abstract: "650,000"
PARAMETERS = 60_965_224  # (calc) the abstract: "60 million"
MULTIPLY_ADDS = 724_406_816  # (calc) an image, forward

# §4.1 Data augmentation
COLOUR_STDDEV = 0.1  # of alpha in the PCA colour shift
VIEWS = 10  # five crops and their mirror images at test time

# §4.2 Dropout
DROPOUT_RATE = 0.5

# §5 Details of learning
BATCH_SIZE = 128
MOMENTUM = 0.9
WEIGHT_DECAY = 0.0005
LEARNING_RATE = 0.01
LEARNING_RATE_DROPS = 3  # by 10 each, when the validation error stopped falling
DROP_FACTOR = 0.1
NUM_EPOCHS = 90
INIT_STDDEV = 0.01
ONE_BIASES = ('conv2', 'conv4', 'conv5', 'fc6', 'fc7')  # the others start at 0

# §6, Tables 1 and 2: errors as fractions, (top-1, top-5); None: not given.
# The centre crop is in footnote 5 of §6; a * stands for a sixth convolutional
# layer and a first training on all of ImageNet.
ERRORS = {
  'ILSVRC-2010 test, 10 views': (0.375, 0.170),
  'ILSVRC-2010 test, centre crop': (0.390, 0.183),
  'ILSVRC-2012 val, 1 CNN, 10 views': (0.407, 0.182),
  'ILSVRC-2012 val, 5 CNNs, 10 views': (0.381, 0.164),
  'ILSVRC-2012 val, 1 CNN*, 10 views': (0.390, 0.166),
  'ILSVRC-2012 val, 7 CNNs*, 10 views': (0.367, 0.154),
  'ILSVRC-2012 test, 5 CNNs, 10 views': (None, 0.164),
  'ILSVRC-2012 test, 7 CNNs*, 10 views': (None, 0.153),
}
# The same tables: the best that others had.
OTHERS_ERRORS = {
  'ILSVRC-2010 test, sparse coding': (0.471, 0.282),
  'ILSVRC-2010 test, SIFT + Fisher vectors': (0.457, 0.257),
  'ILSVRC-2012 test, SIFT + Fisher vectors': (None, 0.262),
}
# §6: Fall 2009, 10,184 classes, with a sixth convolutional layer.
FALL_2009_ERRORS = {
  'Fall 2009, 1 CNN': (0.674, 0.409),
  'Fall 2009, the best before': (0.781, 0.609),
}
