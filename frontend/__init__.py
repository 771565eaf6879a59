"""From a Python function on torch tensors to a pb module, and the API that users call."""
