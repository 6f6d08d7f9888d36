"""Items of the store as rows, their vectors, and searches over them. `items` is the way in."""
