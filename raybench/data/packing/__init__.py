"""Pack a data set into verified Parquet shards."""
