"""The config: its fields, the checks before a run, ablations and flags.

schema     every field and the values that it may hold
validate   checks that fields fit each other
durations  epochs as steps
ablations  named sets of changes, from the paper and the authors
flags      --config, --config.FIELD=VALUE and --ablation
"""
