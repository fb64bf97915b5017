"""Reads etcd snapshot files and writes them anew: bbolt pages, buckets, mvcc records."""
