{{- define "cloudcrowd.name" -}}{{ .Release.Name | trunc 50 | trimSuffix "-" }}-cloudcrowd{{- end }}
{{- define "cloudcrowd.image" -}}{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{- end }}
{{- define "cloudcrowd.selector" -}}
app.kubernetes.io/name: cloudcrowd
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
{{- define "cloudcrowd.labels" -}}
{{ include "cloudcrowd.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}
{{- define "cloudcrowd.url" -}}
{{ .Values.server.publicURL | default (printf "https://%s.%s.svc:%v" (include "cloudcrowd.name" .) .Release.Namespace .Values.server.service.port) }}
{{- end }}
{{- define "cloudcrowd.joinSecret" -}}{{ .Values.worker.existingSecret | default (printf "%s-join" (include "cloudcrowd.name" .)) }}{{- end }}
{{- define "cloudcrowd.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}
{{- define "cloudcrowd.security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}
{{- /* "true" if there is a database that servers share. */}}
{{- define "cloudcrowd.shared" -}}{{ if or .Values.server.store.address .Values.server.store.existingSecret }}true{{ end }}{{- end }}
{{- define "cloudcrowd.storeSecret" -}}{{ .Values.server.store.existingSecret | default (printf "%s-store" (include "cloudcrowd.name" .)) }}{{- end }}
