"""The paper's network and procedure, on a sample of drawn images.

  python -m alexnet_jax.main --config=configs/default.py

The full network, 224 x 224 crops, two columns on two devices. Without real
data at hand it learns ten kinds of coloured gratings: under five minutes on
two CPU cores (AMD EPYC without AVX-512), 0 % error on 300 images with ten views
(n = 1). configs/imagenet.py is the same on ImageNet for the paper's 90 epochs.

Every field can be set on the command line (--config.optim.momentum=0.8). Fields
called _epochs count passes over the training set, _steps count minibatches;
plateau.patience_epochs alone counts evaluations, one an epoch by default.
"""

from ml_collections import config_dict

from alexnet_jax import paper


def get_config() -> config_dict.ConfigDict:
  """The configuration; `paper` holds the printed numbers with their section."""
  config = config_dict.ConfigDict()
  config.seed = 0  # of the initial values, data order, augmentation, dropout
  config.batch_size = paper.BATCH_SIZE  # images a step on all devices, §5
  # Parts of a device's images in a step, one after the other; their gradients
  # are summed. The same numbers but for rounding, in less memory (scratch of
  # 128 images on a CPU: 1.53, 1.03, 0.71 GB in 1, 2, 4 parts). None, or 'auto'
  # on the command line: as many as are fastest here, see steps/measure.py.
  config.grad_accumulation_steps = config_dict.placeholder(int)
  config.num_epochs = paper.NUM_EPOCHS  # at most: see plateau, §5
  config.total_steps = config_dict.placeholder(int)  # set: wins over num_epochs
  # Of activations and their gradients; or 'bfloat16', for devices that are
  # faster at it. Parameters, velocities and the loss are always float32.
  config.dtype = 'float32'
  # What computes bias, ReLU, LRN and pooling after conv1 and conv2: 'xla', in
  # several kernels; or 'pallas', in one, and their gradient in another, of
  # ops/pallas. That is for GPUs, and was never timed on one.
  config.kernels = 'xla'
  # Whether a CPU multiplies bfloat16 by its instructions for it (AVX-512 BF16,
  # AMX), or as float32, without rounding parameters (but for those of locally
  # connected layers). None, or 'auto' on the command line: what is faster here,
  # see steps/measure.py. GPUs have such instructions.
  config.native_bfloat16 = config_dict.placeholder(bool)
  # Whether a CPU convolves with about half the multiplications (Winograd's
  # algorithm, ops/winograd.py): results differ by about 3e-6 of the largest, a
  # step takes more memory, bfloat16 is multiplied as float32. None, or 'auto':
  # where it is faster, see steps/measure.py. GPUs use their own library.
  config.winograd = config_dict.placeholder(bool)
  config.mesh = config_dict.ConfigDict()  # devices: data x column of them, §3.2
  config.mesh.data = 1  # along the data axis: each takes a share of images
  config.mesh.column = paper.COLUMNS  # a device a column; 1: one has both
  config.model = model()
  config.optim = optim(layers=tuple(config.model.layer))
  config.batch_scaling = batch_scaling()
  config.plateau = plateau()
  config.schedule = schedule(layers=tuple(config.model.layer))
  config.data = data()
  config.augment = augment()
  config.eval = evaluation()
  config.checkpoint = checkpoint()
  # Steps with a loss or gradient that is not finite that may be skipped before
  # the run ends. Above 0 the columns exchange one more word in each step than
  # in the paper.
  config.guard = config_dict.ConfigDict(dict(max_skipped_steps=0))
  config.log = log()
  config.health = health()
  # Whether to write WORKDIR/report/index.html; alexnet_jax.tools.report does it
  # by hand.
  config.report = config_dict.ConfigDict(dict(at_end=True))
  config.ablations = ()  # set by --ablation, for the record
  # Pre-training (§6): a WORKDIR or checkpoints/STEP from which a run takes its
  # initial layers: 'conv', 'all_but_fc8' or 'all'. The other layers and all
  # velocities start as usual. 'network': as 'all_but_fc8', in a network that is
  # that run's, with its image sizes, whatever config.model says.
  config.init_from = ''
  config.init_layers = 'all_but_fc8'  # which layers init_from gives

  # The sample run: what makes it fit a laptop and data that need no download.
  # configs/imagenet.py sets each of these to the paper's value.
  config.data.source = 'embedded'
  config.batch_size = 32
  # Deviation: minibatches of 128 images and a rate of 0.01 (§5).
  # Here: a fourth of both, in default.py alone. At 0.01 its run learns in 50
  # steps and then diverges: with ten classes in place of a thousand, the one
  # vector that all images share in fc7 (biases of 1) moves ten probabilities of
  # 1/10 at once.
  config.optim.learning_rate = paper.LEARNING_RATE / 4
  config.total_steps = 80
  config.log.every_steps = 1
  return config


def model() -> config_dict.ConfigDict:
  """The network (§3). `layer` reads like the table of Figure 2."""
  config = config_dict.ConfigDict()
  config.columns = paper.COLUMNS  # groups of kernels of a layer, §3.2
  config.num_classes = paper.NUM_CLASSES  # units of fc8; at least the data's
  config.conv6 = False  # the sixth convolutional layer of the * rows, §6
  config.bottleneck = False  # linear units in front of fc8, see below
  config.skip_layers = ()  # layers left out, but for the 'pool' of their `ops`
  config.activation = 'relu'  # of every layer but fc8, §3.1
  config.dropout_rate = paper.DROPOUT_RATE  # of fc6 and fc7, §4.2
  # When what dropout leaves is scaled: at 'test' time by 1 - dropout_rate, as
  # in the paper; or in 'training' by its reciprocal, as in Caffe and PyTorch.
  config.dropout_scaling = 'test'
  # Of the sizes of maps, where the last window of a convolution or a pooling is
  # not whole: see conv1. 'down', as in PyTorch, leaves that window out.
  config.rounding = 'up'

  config.lrn = config_dict.ConfigDict()  # §3.3
  config.lrn.n = paper.LRN_N  # kernels in a window
  config.lrn.k = paper.LRN_K  # added to the scaled sum
  config.lrn.alpha = paper.LRN_ALPHA  # factor of the sum of squares
  # Paper differs from code: alpha multiplies the sum over the window (§3.3).
  # 2012: its mean; the scale is divided by n first (layer.py:1183), as Caffe
  # and PyTorch do.
  # Here: 'sum'; or 'mean'.
  config.lrn.alpha_of = 'sum'
  config.lrn.beta = paper.LRN_BETA  # exponent of the divisor
  # Whether windows reach across the columns, as in Caffe: see ops/lrn.py. Needs
  # config.mesh.column = 1.
  config.lrn.across_columns = False

  # Paper differs from code: conv2 has one normalisation.
  # 2012: a second one, `cnorm2`, over 5 x 5 positions of each map
  # (layers-145.cfg:107-117, layer-params-145.cfg:157-163).
  # Here: none; or 'spatial_norm' in config.model.layer.conv2.ops, as below.
  config.spatial_norm = config_dict.ConfigDict()
  config.spatial_norm.size = 5  # pixels, height and width of a window
  config.spatial_norm.k = 1.0  # as in lrn, and so are the others
  config.spatial_norm.alpha = 0.001  # factor of the sum or mean
  config.spatial_norm.alpha_of = 'mean'  # of the squares
  config.spatial_norm.beta = 0.75  # exponent of the divisor

  config.pool = config_dict.ConfigDict()  # §3.4
  config.pool.size = paper.POOL_SIZE  # z, pixels
  config.pool.stride = paper.POOL_STRIDE  # s, pixels

  config.layer = config_dict.ConfigDict()  # §3.5, in the order of their names
  # Paper differs from code: conv1 is rectified, then normalised, then pooled.
  # 2012: normalised with its sign, pooled, and then rectified
  # (layers-145.cfg:9-63).
  # Here: the text's order; any other in config.model.layer.conv1.ops.
  kernels, block = paper.KERNELS, ('activation', 'lrn', 'pool')
  # Paper silent: how 224 pixels give 55 windows of 11 at a stride of 4.
  # 2012: sizes are rounded up, the last window reads three rows and columns of
  # zeros at the bottom and right (layer.py:1004).
  # Here: the same, in every layer.
  config.layer.conv1 = conv(
    kernels['conv1'],
    size=11,
    stride=4,
    padding=0,
    inputs='image',
    ops=block,
  )
  config.layer.conv2 = conv(
    kernels['conv2'],
    size=5,
    padding=2,
    inputs='own_column',
    ops=block,
    bias=1.0,
  )
  # Paper differs from code: kernels of all layers start as N(0, 0.01).
  # 2012: N(0, 0.03) in conv3, conv4 and conv5 (layers-145.cfg:135-218).
  # Here: 0.01; or config.model.layer.conv3.stddev and its likes.
  config.layer.conv3 = conv(kernels['conv3'], inputs='both_columns')
  config.layer.conv4 = conv(kernels['conv4'], inputs='own_column', bias=1.0)
  config.layer.conv5 = conv(
    kernels['conv5'], inputs='own_column', ops=('activation', 'pool'), bias=1.0
  )
  # Paper silent: §6 gives no size of the sixth convolutional layer.
  # 2012: 128 kernels of 3 x 3 a column over both, N(0, 0.03), biases of 1
  # (layers-146-2009.cfg:258-282).
  # Here: the same, with config.model.conv6 = True.
  config.layer.conv6 = conv(256, inputs='both_columns', stddev=0.03, bias=1.0)
  dropped = ('activation', 'dropout')
  units = paper.DENSE_UNITS
  config.layer.fc6 = dense(units, inputs='both_columns', ops=dropped, bias=1.0)
  config.layer.fc7 = dense(units, inputs='both_columns', ops=dropped, bias=1.0)
  # Paper silent: how 21,843 classes of Fall 2011 are told apart (§6).
  # 2012: two halves of a softmax, each behind 1024 linear units
  # (layers-146-2011.cfg).
  # Here: with config.model.bottleneck = True, 1024 linear units a column that
  # see both, in front of one softmax.
  config.layer.fc7_bottleneck = dense(2048, inputs='both_columns', ops=())
  config.layer.fc8 = dense(
    config.get_ref('num_classes'), inputs='summed', ops=()
  )
  return config


def conv(
  kernels: int,
  *,
  size: int = 3,
  stride: int = 1,
  padding: int = 1,
  inputs: str,
  ops: tuple[str, ...] = ('activation',),
  bias: float = 0.0,
  stddev: float = paper.INIT_STDDEV,
  local: bool = False,
) -> config_dict.ConfigDict:
  """A convolutional layer of both columns together.

  Args:
    kernels: of both columns.
    size: height and width of a kernel, pixels.
    stride: pixels between neighbouring windows.
    padding: rows and columns of zeros on each side; more follow at the bottom
      and right if the last window needs them.
    inputs: what each column of the layer reads: the 'image', the maps of its
      'own_column', or those of 'both_columns'.
    ops: what follows, in order: 'activation', 'lrn', 'spatial_norm', 'pool',
      'dropout'.
    bias: initial value of the biases, §5.
    stddev: standard deviation of the initial kernels, §5.
    local: separate kernels at each position, not shared; not in the paper.
  """
  return config_dict.ConfigDict(
    dict(
      kernels=kernels,
      size=size,
      stride=stride,
      padding=padding,
      inputs=inputs,
      ops=ops,
      bias=bias,
      stddev=stddev,
      local=local,
    ),
  )


def dense(
  units: int | config_dict.FieldReference,
  *,
  inputs: str,
  ops: tuple[str, ...],
  bias: float = 0.0,
  stddev: float = paper.INIT_STDDEV,
) -> config_dict.ConfigDict:
  """A fully-connected layer.

  Args:
    units: of both columns.
    inputs: what each column of the layer reads: units of its 'own_column' or
      of 'both_columns'; or 'summed': each column computes what its own units
      add to every unit of this layer, and these parts are summed.
    ops: what follows, in order: 'activation', 'dropout'.
    bias: initial value of the biases, §5.
    stddev: standard deviation of the initial weights, §5.
  """
  return config_dict.ConfigDict(
    dict(units=units, inputs=inputs, ops=ops, bias=bias, stddev=stddev)
  )


def optim(layers: tuple[str, ...]) -> config_dict.ConfigDict:
  """Stochastic gradient descent (§5)."""
  config = config_dict.ConfigDict()
  config.learning_rate = paper.LEARNING_RATE  # before the drops
  config.momentum = paper.MOMENTUM  # share of the velocity that is kept
  config.weight_decay = paper.WEIGHT_DECAY  # "not merely a regularizer"
  # Factor of weight_decay by layer; 1 in the paper.
  config.decay = config_dict.ConfigDict(dict.fromkeys(layers, 1.0))
  # Paper silent: whether the biases are among the w that decay (§5).
  # 2012: they are not (layer.cu:565).
  # Here: they are not; or decay_biases = True.
  config.decay_biases = False
  return config


def batch_scaling() -> config_dict.ConfigDict:
  """Rates for minibatches of other than 128 images; not in the paper.

  The rule multiplies all rates by batch_size / base_batch_size. With lars,
  the step of a kernel is proportional to its own norm, not its gradient's. Each
  works without the other.
  """
  config = config_dict.ConfigDict()
  # '': rates are not scaled. 'linear': Goyal et al. 2017, arXiv:1706.02677.
  # Without warm-up it is what the 2012 notes do for 256 images, both rates
  # doubled (layer-params-170-256-double.cfg): configs/source2012_256.py.
  config.rule = ''
  # Images that optim.learning_rate is for; default.py's 0.0025 is for 32.
  config.base_batch_size = paper.BATCH_SIZE
  # Epochs in which rates rise from those of base_batch_size; Goyal et al.: 5.
  # Plateaus and tables of config.schedule count these epochs, too.
  config.warmup_epochs = 0.0
  # Trust ratios of You et al. 2017, arXiv:1708.03888, for very large
  # minibatches. What enters a kernel's velocity has learning_rate x
  # trust_coefficient times its norm: a thousandth at a rate of 1. Biases keep
  # the plain rule, for which such a rate is too high: see config.schedule.bias.
  config.lars = False
  config.trust_coefficient = 0.001  # with lars
  return config


def plateau() -> config_dict.ConfigDict:
  """When to lower the rate: if the top-1 validation error plateaus (§5)."""
  config = config_dict.ConfigDict()
  # Paper silent: when the error has "stopped improving" (§5).
  # 2012: the authors saw it in the curves and set the rates by hand.
  # Here: five evaluations in a row without improvement; or, with
  # enabled = False, the times of config.schedule alone.
  config.enabled = True
  config.factor = paper.DROP_FACTOR  # of the rate, at each drop
  config.num_drops = paper.LEARNING_RATE_DROPS  # the next plateau ends training
  config.patience_epochs = 5  # evaluations without improvement
  config.min_improvement = 1e-3  # of the best error so far, relative
  return config


ALWAYS = ((0.0, 1.0),)  # a table: from the start, the factor 1


def schedule(layers: tuple[str, ...]) -> config_dict.ConfigDict:
  """Factors of the rate by time, kind of parameter and layer.

  A rate is optim.learning_rate times the factors of batch_scaling, the plateau,
  the kind and the layer. A table is ((when, factor), ...): a factor holds from
  its `when` until the next. A factor of 0 freezes a parameter: neither decay
  nor momentum moves it.
  """
  config = config_dict.ConfigDict()
  config.counts = 'epochs'  # unit of `when`; or 'fractions' of the run
  config.kernel = ALWAYS  # a table for all kernels
  # Paper differs from code: all layers have an equal rate (§5).
  # 2012: biases begin at twice the rate and have drops of their own: one, with
  # the first of the kernels', or none, as in run 145 (layer-params-145.cfg).
  # Here: equal; or config.schedule.bias = ((0, 2.0),).
  config.bias = ALWAYS
  # Paper differs from code: all layers learn to the end (§5).
  # 2012: conv1 learns at a tenth from epoch 67 and is frozen at epoch 72
  # (layer-params-145.cfg:177-180).
  # Here: all learn; or config.schedule.layer.conv1.
  config.layer = config_dict.ConfigDict(
    {name: {'kernel': ALWAYS, 'bias': ALWAYS} for name in layers}
  )
  return config


def data() -> config_dict.ConfigDict:
  """Where images come from (§2)."""
  config = config_dict.ConfigDict()
  # 'prepared' (needs dir), 'tfds' (needs tfds) or 'embedded' (drawn).
  config.source = 'prepared'
  config.dir = ''  # a folder that alexnet_jax.tools.prepare made; or of TFDS
  config.tfds = ''  # a data set of TFDS, such as imagenette/full-size-v2
  config.image_size = paper.IMAGE_SIZE  # pixels, of the stored square
  config.crop_size = paper.CROP_SIZE  # pixels, of what the network sees, §4.1
  # Paper silent: which part of the mean image is subtracted from a crop.
  # 2012: its centre, wherever the crop was taken (convdata_jpeg.py:209-211).
  # Here: the 'crop', the part that it covers; or 'centre'.
  config.mean_at = 'crop'
  # Standard deviations by which red, green and blue are divided, grey levels;
  # (): by none, as in the paper. PyTorch: (58.395, 57.12, 57.375).
  config.channel_stddevs = ()
  # How an image becomes a square: 'crop', its middle, as in §2; or 'warp', all
  # of it, squeezed, as in Caffe. tools.prepare has this as --resize.
  config.resize = 'crop'
  # Paper silent: whether the order of images changes from epoch to epoch.
  # 2012: shuffled once, when the files were written (convdata_jpeg.py:136-152).
  # Here: shuffled in each epoch; or reshuffle = False.
  config.reshuffle = True
  config.embedded_train_images = 960  # drawn, to train on
  config.embedded_val_images = 300  # drawn, to validate
  config.embedded_classes = ()  # numbers of the classes to draw; (): all ten
  # Measured on 2 cores (n = 2), images/s of raw and of JPEG records: 1 thread
  # 17,000 and 4,100, 2 threads 19,000 and 7,600, 3 threads the same, 2
  # processes 5,900 and 4,700. For JPEGs, a thread for each core.
  config.read_threads = 2
  config.prefetch_batches = 4  # made ahead of the step
  config.max_bad_records = 10  # damaged images, left out with a warning
  return config


def augment() -> config_dict.ConfigDict:
  """How training images are varied (§4.1)."""
  config = config_dict.ConfigDict()
  config.random_crop = True  # False: the centre
  config.mirror = True  # with probability 1/2
  # Paper differs from code: §4.1 speaks of each image.
  # 2012: one crop and one mirror bit for 32 images (convdata_jpeg.py:238-246);
  # colours, there too, for each.
  # Here: for each; or images_per_draw = 32.
  config.images_per_draw = 1
  config.colour_stddev = paper.COLOUR_STDDEV  # of alpha; 0: no colour shift
  # Paper differs from code: colours are shifted throughout.
  # 2012: until epoch 67 (layer-params-145.cfg:178).
  # Here: throughout; or colour_epochs = 66.
  config.colour_epochs = config_dict.placeholder(int)
  # Paper differs from code: the shift is added, and that is all (§4.1).
  # 2012: training crops are then divided by 1 + colour_stddev, crops at test
  # time are not (convdata_jpeg.py:155-179).
  # Here: not divided; or divide_by_colour = True.
  config.divide_by_colour = False
  return config


def evaluation() -> config_dict.ConfigDict:
  """Error rates on the validation set."""
  config = config_dict.ConfigDict()
  # Centre crop, then a checkpoint; the plateau rule counts these.
  config.every_epochs = 1
  config.batch_size = 128  # images
  # At the end of training, §4.1: 10, 1 (the centre crop), or 9 (three by three
  # places, not mirrored, as the authors' CIFAR-10 nets were tested).
  config.final_views = paper.VIEWS
  return config


def checkpoint() -> config_dict.ConfigDict:
  """When to write checkpoints, and how many are kept."""
  config = config_dict.ConfigDict()
  config.keep_newest = 2  # and always the best by top-1 validation error
  config.every_epochs = 1  # after the evaluation, if one is due
  config.every_minutes = 15.0  # by the clock, between any two steps; 0: never
  return config


def log() -> config_dict.ConfigDict:
  """What is written to metrics.jsonl and TensorBoard."""
  config = config_dict.ConfigDict()
  config.every_steps = 20  # a line holds the mean over these
  return config


def health() -> config_dict.ConfigDict:
  """When to warn that a run may not learn."""
  config = config_dict.ConfigDict()
  # Standard deviation over images of the logits before step 1. The paper's
  # initial values give 0.004 on ImageNet, standardised pixels 0.00008.
  config.min_signal = 0.002
  config.probe_images = 32  # at most, of the first minibatch
  # Steps after which a mean loss of ln(classes) or more draws a warning.
  config.stuck_steps = 2000
  config.stuck_tolerance = 0.01  # below ln(classes), relative
  # Largest share of the time between two log lines spent waiting for images.
  config.max_input_wait = 0.2
  return config
