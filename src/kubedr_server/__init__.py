"""KubeDR: backs up a Kubernetes cluster's etcd and certificates, and brings them back."""
