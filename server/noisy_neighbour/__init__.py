"""`bench noisy-neighbour`: what a quiet tenant feels of a noisy one, protected from it and not."""
