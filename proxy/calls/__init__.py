"""Reads a request.

`reader`           reads the body, and makes the `Call` of the rest
`compressed_body`  unpacks a body that is compressed
`call`             one request, as routing, arms and recording see it
`routes`           the entry and the operation of a path, and the canaries that match
`canary_choice`    the canary that takes a request, and the arm that a pin or a flag system asks for
`callers`          who may call, and for which models
`prompt`           the texts of a request's messages
`refusal`          why the proxy refuses a request, in the form of the API that was called
"""
