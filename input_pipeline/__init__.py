"""What reads: manifests and audio in, batches of numpy arrays out.

Only what makes batches imports TensorFlow (`batches`, `bucketing`, `effects`, `examples`,
`features`, `mixture`), and what writes shards; what a prediction needs does not.
"""
