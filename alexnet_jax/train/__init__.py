"""Training: resumes a workdir's run and trains to the end of the config (§5).

run         the entry point: resume, then run the loop
resume      the checkpoint that a run starts from
warm_start  layers of another run to start with
workdir     the run's folder: lock, config, log, checkpoints
loop        step, log, evaluate, lower the rate, save, stop
guard       losses and gradients that are not finite
health      warnings before and during a run
log         metrics.jsonl, TensorBoard, progress
board       kernels, images and the config for TensorBoard
timer       images/s and waiting for input
profile     a trace of a few steps
"""

from alexnet_jax.train.guard import DivergedError
from alexnet_jax.train.run import train

__all__ = ['DivergedError', 'train']
