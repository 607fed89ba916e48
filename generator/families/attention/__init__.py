"""`family: attention`: softmax attention of any length with a state that does not grow with it."""
