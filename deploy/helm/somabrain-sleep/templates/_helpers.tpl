{{- define "sleep.name" -}}
{{- printf "%s-%s" .root.Release.Name .part | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "sleep.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end -}}

{{- define "sleep.labels" -}}
{{ include "sleep.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{/* The variables of a part: those of all parts, with its own on top. `merge` would ignore an own false, 0 or "". */}}
{{- define "sleep.env" -}}
{{- $settings := dict }}
{{- $secrets := dict }}
{{- range $values := list .root.Values .part }}
{{- range $name, $value := $values.settings }}
{{- $_ := set $settings $name $value }}
{{- end }}
{{- range $name, $secret := $values.secrets }}
{{- $_ := set $secrets $name $secret }}
{{- end }}
{{- end }}
{{- range $name, $value := $settings }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- range $name, $secret := $secrets }}
- name: {{ $name }}
  valueFrom:
    secretKeyRef:
      name: {{ $secret.name }}
      key: {{ $secret.key }}
{{- end }}
{{- end -}}

{{- define "sleep.mounts" -}}
{{- range .Values.mounts }}
- name: {{ .name }}
  mountPath: {{ .path }}
  readOnly: true
{{- end }}
{{- end -}}

{{- define "sleep.volumes" -}}
{{- range .Values.mounts }}
- name: {{ .name }}
  {{- if .secret }}
  secret:
    secretName: {{ .secret }}
  {{- else }}
  configMap:
    name: {{ .configMap }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* What every pod has: no token, no variables of other services, no privileges. */}}
{{- define "sleep.pod" -}}
automountServiceAccountToken: false
# Kubernetes would set SLEEP_API_PORT and others for a release that is called `sleep`.
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with (include "sleep.volumes" .) }}
volumes:
  {{- . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "sleep.container" -}}
image: {{ printf "%s:%s" .Values.image.repository .Values.image.tag | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- with (include "sleep.mounts" .) }}
volumeMounts:
  {{- . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Probes. /healthz says that the process answers, whatever its dependencies do. /readyz is 503 while it starts or stops. */}}
{{- define "sleep.probes" -}}
# A minute to load and to bind the port; most of it is for a node that is busy.
startupProbe:
  httpGet: {path: /healthz, port: http}
  periodSeconds: 2
  failureThreshold: 30
  timeoutSeconds: 2
# A minute without an answer: then the process is blocked, and its parent would restart it too.
livenessProbe:
  httpGet: {path: /healthz, port: http}
  periodSeconds: 10
  failureThreshold: 6
  timeoutSeconds: 5
# Twice 5 s: an API that stops is unready for 1 s before it refuses connections, and the endpoint goes at SIGTERM.
readinessProbe:
  httpGet: {path: /readyz, port: http}
  periodSeconds: 5
  failureThreshold: 2
  timeoutSeconds: 2
{{- end -}}

{{- define "sleep.deployment" -}}
{{- $part := index .root.Values .part -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "sleep.name" . }}
  labels:
    {{- include "sleep.labels" . | nindent 4 }}
spec:
  {{- if not $part.autoscaling.enabled }}
  replicas: {{ $part.replicas }}
  {{- end }}
  strategy:
    type: RollingUpdate
    rollingUpdate: {maxUnavailable: 0, maxSurge: 1}
  selector:
    matchLabels:
      {{- include "sleep.selector" . | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "sleep.labels" . | nindent 8 }}
    spec:
      {{- include "sleep.pod" .root | nindent 6 }}
      terminationGracePeriodSeconds: {{ .root.Values.terminationGracePeriodSeconds }}
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels:
              {{- include "sleep.selector" . | nindent 14 }}
      containers:
        - name: {{ .part }}
          {{- include "sleep.container" .root | nindent 10 }}
          args: [{{ .part }}, --processes, {{ $part.processes | quote }}]
          ports:
            - name: http
              containerPort: {{ .port }}
          env:
            {{- include "sleep.env" (dict "root" .root "part" $part) | nindent 12 }}
            - name: {{ .portVariable }}
              value: {{ .port | quote }}
          {{- include "sleep.probes" .root | nindent 10 }}
          resources:
            {{- toYaml $part.resources | nindent 12 }}
{{- end -}}
