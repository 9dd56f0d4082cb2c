"""Records -> batches, with tf.data."""
