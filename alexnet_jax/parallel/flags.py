"""The flags that connect the processes of one run (launch/README.md)."""

from absl import flags

from alexnet_jax.parallel import distributed

_COORDINATOR = flags.DEFINE_string(
  'coordinator',
  None,
  'HOST:PORT of process 0, in a run of several processes; with --num_processes '
  'and --process_id.',
)
_NUM_PROCESSES = flags.DEFINE_integer(
  'num_processes', None, 'Number of processes of the run.', lower_bound=1
)
_PROCESS_ID = flags.DEFINE_integer(
  'process_id', None, 'Number of this process, from 0 on.', lower_bound=0
)
_DISTRIBUTED = flags.DEFINE_bool(
  'distributed',
  False,
  'The run has several processes, started by a scheduler that JAX detects: '
  'SLURM, Open MPI, Cloud TPUs, Kubernetes.',
)
_COORDINATOR_TIMEOUT = flags.DEFINE_integer(
  'coordinator_timeout',
  300,
  'Seconds within which all processes have to connect.',
  lower_bound=1,
)
_HEARTBEAT = flags.DEFINE_integer(
  'heartbeat',
  20,
  'Seconds without a heartbeat after which a process counts as dead, and the '
  'others end.',
  lower_bound=2,
)


def join() -> None:
  """Connects with the other processes, if the flags name any.

  Raises ValueError if the flags do not fit, or not all connect in time.
  """
  cluster = distributed.Cluster(
    coordinator=_COORDINATOR.value,
    processes=_NUM_PROCESSES.value,
    process=_PROCESS_ID.value,
    timeout=_COORDINATOR_TIMEOUT.value,
    heartbeat=_HEARTBEAT.value,
  )
  if _DISTRIBUTED.value or any(part is not None for part in cluster[:3]):
    distributed.join(cluster)
