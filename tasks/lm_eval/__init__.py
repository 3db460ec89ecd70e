"""The ten data sets as tasks of lm-evaluation-harness, and as the hub has them."""
