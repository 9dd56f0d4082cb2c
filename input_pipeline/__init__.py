"""What reads: manifests and audio in, batches of numpy arrays out.

Only `batches` and `features` import TensorFlow; everything that a prediction needs does not.
"""
