"""Follows a copy of an answer while it is relayed.

`reader`          the choice of a reader, and those of whole answers
`sse`             server-sent events
`event_frames`    Amazon's frames
`codings`         content codings
`recorder`        the text of an answer, for capture
`provider_error`  what a provider says when it refuses
"""
