"""The configs: each file has a get_config() that returns a ConfigDict."""
