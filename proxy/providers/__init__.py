"""The provider entries, and how a request is written for one.

`provider`       an entry and its timeouts
`urls`           how the URLs of each kind of entry name operation and model
`headers`        which headers go on in each direction, and the request heads with them
`json_edit`      changes in a request's JSON, which leave all other bytes as they came
`credentials`    keys, and the tokens of a cloud
`aws_signature`  signs a request for AWS
"""
