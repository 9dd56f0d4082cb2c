"""What a trained model is worth: metrics, chunks into tracks, a baseline, figures and the report.

Everything here takes numpy arrays and knows neither a model nor a data set.
"""
