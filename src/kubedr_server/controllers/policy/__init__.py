"""MetadataBackupPolicy: its CronJob, what its Jobs made, and which records it keeps."""
