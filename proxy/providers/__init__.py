"""The provider entries, and how a request is written for one.

`provider`     an entry and its timeouts
`address`      the host of a base URL, and the request heads for it
`urls/`        how the URLs of each kind of entry name operation and model
`headers`      which headers go on in each direction
`body`         changes in a request's JSON, which leave all other bytes as they came
`credentials/` keys, and the tokens of a cloud
"""
