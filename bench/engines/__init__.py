"""Where models run: vLLM in process, any OpenAI-compatible server, or transformers, behind one small protocol."""
