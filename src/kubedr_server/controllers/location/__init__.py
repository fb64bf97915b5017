"""BackupLocation: its repository is made and opened, then looked at, checked and pruned on schedules."""
