"""The main job on one machine, shown with real parts: `make demo`.

It holds also what starts those parts (etcd with TLS, an S3 server), which the tests use as well.
It is a plain script that runs programs one after the other, so nothing here is asynchronous.
"""
