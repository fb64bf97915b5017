{{/* The labels that select the server's pods. */}}
{{- define "kubedr.selector" -}}
app.kubernetes.io/name: kubedr
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: server
{{- end }}

{{- define "kubedr.labels" -}}
{{ include "kubedr.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* An image by digest, else by tag, else by the chart's appVersion. Takes a list: the image's values, the root. */}}
{{- define "kubedr.image" -}}
{{- $image := index . 0 -}}
{{- $root := index . 1 -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default $root.Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* Names of cluster-scoped objects carry the namespace, so that two installations do not collide. */}}
{{- define "kubedr.clusterName" -}}
{{ .Release.Namespace }}-{{ .Release.Name }}
{{- end }}

{{- define "kubedr.caInjection" -}}
{{- if eq .Values.tls.mode "cert-manager" }}
  annotations:
    cert-manager.io/inject-ca-from: {{ .Release.Namespace }}/{{ .Release.Name }}-webhook
{{- end }}
{{- end }}

{{/* What the controllers may do in a namespace that they look after. */}}
{{- define "kubedr.rules" -}}
- apiGroups: [kubedr.catalogicsoftware.com]
  resources: [backuplocations, metadatabackuppolicies, metadatabackuprecords, metadatarestores]
  verbs: [get, list, watch]
- apiGroups: [kubedr.catalogicsoftware.com]
  resources: [metadatabackuprecords]
  verbs: [create, patch, delete]
- apiGroups: [kubedr.catalogicsoftware.com]
  resources:
    - backuplocations/status
    - metadatabackuppolicies/status
    - metadatabackuprecords/status
    - metadatarestores/status
  verbs: [patch]
# An owner reference that blocks its owner's deletion asks for this, where that admission plugin is on.
- apiGroups: [kubedr.catalogicsoftware.com]
  resources:
    - backuplocations/finalizers
    - metadatabackuppolicies/finalizers
    - metadatarestores/finalizers
  verbs: [update]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
# A CronJob belongs to its policy, and is deleted with it.
- apiGroups: [batch]
  resources: [cronjobs]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
# A look at a repository leaves the list of its snapshots on its pod's log.
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get]
# Which keys a Secret has. It is watched by its metadata only; the API knows no smaller permission.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch]
{{- end }}
