"""Chat Completions and Embeddings over one aiohttp session, without the OpenAI SDK in the way."""
