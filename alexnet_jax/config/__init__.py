"""The config: its fields, the checks before a run, ablations and flags.

schema     every field and the values that it may hold
validate   checks that fields fit each other
of_data    classes, minibatch and length that the data set decides
durations  epochs as steps
ablations  named sets of changes, from the paper and the authors
flags      --config, --config.FIELD=VALUE and --ablation
"""
