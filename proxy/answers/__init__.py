"""Follows a copy of an answer while it is relayed.

`reader`            the choice of a reader, those of whole answers, and content codings
`sse`               server-sent events
`aws_event_stream`  Amazon's frames
`recorder`          the text of an answer, for capture
`provider_error`    what a provider says when it refuses
"""
