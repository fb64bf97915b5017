"""What runs inside the backup image: etcd, restic and the sequences that prove a backup."""
