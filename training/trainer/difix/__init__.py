"""The run modes `difix_data_generation_*`: a training set for the image refiner (DiFix).

One process per scene renders its shard (`generate.py`, with `pipeline.py` doing the work); one
process merges all shards into the training set (`merge_shards.py`). Open `shard.py` first: it
defines the files that both agree on. May use every other part of the trainer.
"""
