"""The providers' wire APIs, one file each: which paths are LLM operations and how to read their answers.

`operation`     what is the same in all of them: an operation, its answer, the model's output
`openai`        chat completions, completions and embeddings
`responses`     OpenAI's responses
`realtime`      OpenAI's realtime sessions
`anthropic`     messages
`gemini`        generateContent and its like
`interactions`  Gemini's interactions
`bedrock`       InvokeModel
`converse`      Bedrock's Converse
"""
