"""The vendor family of a model, by how vendors name their models."""

_BEGINNINGS = {
    "openai": ("gpt-", "chatgpt", "o1", "o3", "o4", "text-embedding-", "ft:gpt", "davinci"),
    "anthropic": ("claude",),
    "google": ("gemini", "gemma", "palm"),
    "meta": ("llama", "meta-llama"),
    "mistral": ("mistral", "mixtral", "codestral", "ministral", "magistral", "pixtral"),
    "qwen": ("qwen", "qwq"),
    "deepseek": ("deepseek",),
    "xai": ("grok",),
    "cohere": ("command", "c4ai"),
    "amazon": ("nova", "titan"),
    "microsoft": ("phi-",),
}


def vendor(model: str, provider: str) -> str:
    """The vendor family by the model's name (also by the part after a slash, as in `meta-llama/llama-3`),
    else the provider entry's name."""
    name = model.lower()
    for part in (name, name.rpartition("/")[2], name.partition(".")[2]):
        for family, beginnings in _BEGINNINGS.items():
            if part and part.startswith(beginnings):
                return family
    return provider.lower()
