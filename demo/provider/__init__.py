"""A local LLM provider for demo and tests: OpenAI, Anthropic and Gemini on one port, without a model.

    python -m demo.provider --port 0 --json-ready --behaviour 'gpt-5.6-terra={"ttft_s": 0.2}'

While it runs, `PUT /_provider/behaviours/MODEL` changes a behaviour. Listens on loopback by default. Accepts
any key.

`server`      the provider, its operations and its log
`behaviour`   what a model does, what one request meets, and its reply, independent of wire formats
`connection`  a caller's connection, how an answer is sent or broken off, and what each wire API does
`batches`     batches of questions
`openai`, `responses`, `anthropic`, `gemini`, `interactions`: one wire API each
"""
