"""Other tools' tests as lines of a dataset. Nothing of them is run.

promptfoo           a config or tests of promptfoo, with their prompts.
promptfoo_asserts   its assertions as tasks.
openai_evals        JSON lines of OpenAI Evals.
imported            what an import gives: lines, their places, what was left out.
"""
