"""Documents become passages: parse, split, embed, index, search, cite."""
