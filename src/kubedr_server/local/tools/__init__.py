"""Gets the programs that local mode, the demo and the tests run: etcd, restic, kubectl, an S3 server.

It has only Python's own library to stand on, and changes nothing outside its directory. A program on PATH
that is new enough is used as it is.
"""
