"""Averages saved predictions, without any network (§6).

  python -m alexnet_jax.tools.ensemble A.npz B.npz ... [--weights=2,1,...]

Takes files of --mode=eval --save_predictions and WORKDIR/predictions.npz of
finished runs: of the same images, from any networks. Prints the error rates of
each and of their average; --output=FILE.npz saves the average, which can be
averaged again.
"""

from absl import flags

from alexnet_jax import cli
from alexnet_jax.evaluate import ensemble, predictions
from alexnet_jax.runtime import paths

_WEIGHTS = flags.DEFINE_list(
  'weights', [], 'Of each file in the average; default: equal.'
)
_OUTPUT = flags.DEFINE_string('output', '', 'FILE.npz for the average.')


def main() -> None:
  """Prints the error rates of each file, and of the average."""
  files = cli.arguments()
  if not files:
    raise ValueError(
      'no files: give those that --mode=eval --save_predictions wrote'
    )
  output = paths.expand(_OUTPUT.value)
  if _OUTPUT.value:
    if output.suffix != predictions.SUFFIX:
      raise ValueError(f'--output={output} is no .npz: give it that ending')
    predictions.probe(output)
  weights = ensemble.parse_weights(_WEIGHTS.value, members=len(files))
  members = [predictions.load(paths.expand(file)) for file in files]
  views = {p.views for p in members}
  if len(views) > 1:
    raise ValueError(
      'some files are of one view and some of ten: use the same '
      '--config.eval.final_views for all'
    )
  mean = predictions.average(members, weights=weights)
  for file, one in zip(files, members, strict=True):
    print(f'{file}: {ensemble.describe(one)}')
  print(f'average of {len(files)}: {ensemble.describe(mean)}')
  if _OUTPUT.value:
    predictions.save(mean, output)
    print(f'saved as {output}')


if __name__ == '__main__':
  cli.run(main, takes_arguments=True)
