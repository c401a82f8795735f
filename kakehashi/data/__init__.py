"""From text files to batches: corpora, their check, subwords, shards, batching."""
