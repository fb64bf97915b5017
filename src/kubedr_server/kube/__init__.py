"""The Kubernetes client side: requests, errors, informers, the work queue, leader election, events."""
