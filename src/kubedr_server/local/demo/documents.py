"""The YAML that the demo applies."""

LOCATION = """\
apiVersion: kubedr.catalogicsoftware.com/v1alpha1
kind: BackupLocation
metadata:
  name: demo-storage
spec:
  url: {url}
  bucketName: cluster-backups
  credentials: s3-credentials
  caSecret: s3-ca
"""

POLICY = """\
apiVersion: kubedr.catalogicsoftware.com/v1alpha1
kind: MetadataBackupPolicy
metadata:
  name: demo
spec:
  destination: demo-storage
  etcdEndpoint: {endpoint}
  etcdCreds: etcd-creds
  certsDir: {certificates}
  schedule: "{schedule}"
  retainNumBackups: 24
"""
