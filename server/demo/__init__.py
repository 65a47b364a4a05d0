"""Two rival companies whose documents contradict each other, for demonstrations and tests."""
