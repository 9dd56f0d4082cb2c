"""How a model learns, whatever the model and the objectives are."""
