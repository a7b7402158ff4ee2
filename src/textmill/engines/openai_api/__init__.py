"""Servers that speak OpenAI's API as an engine: vLLM, llama.cpp, TGI, Ollama, OpenAI itself.

address → opening (which model, may the key travel) → engine (many requests at once, one thread)
→ pacing (who may send now) → client (bytes) → verdicts (what an answer means) → wire (JSON)
"""
