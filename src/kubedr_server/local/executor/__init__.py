"""What a cluster's controllers, scheduler and kubelet do, for one machine: it runs Jobs as local processes.

It is a client of a Kubernetes API like any other: it knows nothing of the embedded API, and
works as well against a kube-apiserver that has no controller manager and no kubelet.
"""
