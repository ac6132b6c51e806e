"""Pack any dataset into verified Parquet shards, which the format `packed` reads.

`pack` plans the shards, resumes an interrupted call and writes the index; `shards` writes and verifies one shard.
"""
