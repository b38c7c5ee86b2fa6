"""`raft://` and `raft+tls://`: the store contract over the requests of `backends.raft.requests`.

One connection to the member that leads carries all requests and all watches. `leader` finds it and keeps it, `calls`
asks again until time is up, `session` makes asking again safe, `watches` begins watches anew where they were.
"""
