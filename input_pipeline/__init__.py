"""What reads: manifests and audio in, batches of numpy arrays out.

Only `batches`, `features` and `mixture` import TensorFlow; what a prediction needs does not.
"""
