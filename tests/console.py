"""The console command alexnet-jax, for tests/commands.py."""

from alexnet_jax import tools

if __name__ == '__main__':
  tools.command()
