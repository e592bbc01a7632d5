{{- define "canary.fullname" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "canary.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: canary
{{ include "canary.selector" . }}
{{- end }}

{{- define "canary.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "canary.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ .Values.serviceAccount.name | default (include "canary.fullname" .) }}
{{- else }}{{ .Values.serviceAccount.name | default "default" }}{{ end }}
{{- end }}

{{- define "canary.tokens" -}}
{{ .Values.tokens.existingSecret | default (printf "%s-tokens" (include "canary.fullname" .)) }}
{{- end }}

{{- define "canary.environment" -}}
{{ .Values.environment.existingSecret | default (printf "%s-environment" (include "canary.fullname" .)) }}
{{- end }}

{{- define "canary.scheme" -}}
{{- if .Values.tls.secretName }}HTTPS{{ else }}HTTP{{ end }}
{{- end }}

{{/* What the pods of both roles share: (dict "root" $ "role" "traffic" "settings" .Values.traffic). */}}
{{- define "canary.pod" -}}
{{- $root := .root }}
{{- $scheme := include "canary.scheme" $root }}
metadata:
  labels:
    {{- include "canary.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .role }}
    {{- with $root.Values.podLabels }}{{ toYaml . | nindent 4 }}{{ end }}
  {{- with $root.Values.podAnnotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "canary.serviceAccount" $root }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with $root.Values.imagePullSecrets }}
  imagePullSecrets: {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    fsGroup: 10001
    seccompProfile: {type: RuntimeDefault}
  {{- if eq .role "traffic" }}
  # preStop, the streams' grace, and the time to cut them and store their records.
  terminationGracePeriodSeconds: {{ add .settings.preStopSeconds .settings.graceSeconds 45 }}
  {{- else }}
  terminationGracePeriodSeconds: 45
  {{- end }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "canary.selector" $root | nindent 10 }}
          app.kubernetes.io/component: {{ .role }}
  containers:
    - name: canary
      image: "{{ $root.Values.image.repository }}:{{ $root.Values.image.tag | default $root.Chart.AppVersion }}"
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      args: [serve, --role, {{ .role }}]
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {drop: [ALL]}
      ports:
        {{- if eq .role "traffic" }}
        - {name: http, containerPort: 8080}
        {{- end }}
        - {name: admin, containerPort: 8081}
      env:
        # A subfolder: canary sets its data folder to 0700, and does not own the volume's root.
        - {name: CANARY_DATA, value: /data/canary}
        {{- if eq .role "traffic" }}
        - {name: CANARY_WORKERS, value: {{ .settings.workers | quote }}}
        - {name: CANARY_GRACE, value: {{ printf "%vs" .settings.graceSeconds }}}
        {{- end }}
        {{- range $root.Values.tokens.names }}
        - {name: {{ . }}_FILE, value: /run/secrets/canary/{{ . }}}
        {{- end }}
      envFrom:
        - secretRef: {name: {{ include "canary.environment" $root }}, optional: true}
      {{- if eq .role "traffic" }}
      startupProbe: {httpGet: {path: /healthz, port: http, scheme: {{ $scheme }}}, periodSeconds: 2, failureThreshold: 30}
      livenessProbe: {httpGet: {path: /healthz, port: http, scheme: {{ $scheme }}}, periodSeconds: 10, timeoutSeconds: 3, failureThreshold: 6}
      readinessProbe: {httpGet: {path: /readyz, port: http, scheme: {{ $scheme }}}, periodSeconds: 5, timeoutSeconds: 3}
      lifecycle:
        preStop: {exec: {command: [sleep, {{ .settings.preStopSeconds | quote }}]}}
      {{- else if has "CANARY_METRICS_TOKEN" $root.Values.tokens.names }}
      # With a metrics token these two paths require it, and a probe cannot send a secret.
      startupProbe: {tcpSocket: {port: admin}, periodSeconds: 2, failureThreshold: 60}
      livenessProbe: {tcpSocket: {port: admin}, periodSeconds: 10, failureThreshold: 6}
      readinessProbe: {tcpSocket: {port: admin}, periodSeconds: 5}
      {{- else }}
      startupProbe: {httpGet: {path: /healthz, port: admin, scheme: {{ $scheme }}}, periodSeconds: 2, failureThreshold: 60}
      livenessProbe: {httpGet: {path: /healthz, port: admin, scheme: {{ $scheme }}}, periodSeconds: 10, timeoutSeconds: 3, failureThreshold: 6}
      readinessProbe: {httpGet: {path: /readyz, port: admin, scheme: {{ $scheme }}}, periodSeconds: 5, timeoutSeconds: 3}
      {{- end }}
      resources: {{- toYaml .settings.resources | nindent 8 }}
      volumeMounts:
        - {name: data, mountPath: /data}
        - {name: tmp, mountPath: /tmp}
        # Folders, and no subPath: a file that is mounted alone never changes for the pod.
        - {name: config, mountPath: /etc/canary, readOnly: true}
        - {name: tokens, mountPath: /run/secrets/canary, readOnly: true}
        {{- if $root.Values.tls.secretName }}
        - {name: tls, mountPath: /run/tls, readOnly: true}
        {{- end }}
  volumes:
    - name: data
      emptyDir: {{- if eq .role "traffic" }} {sizeLimit: {{ .settings.spoolSizeLimit }}}{{ else }} {sizeLimit: 1Gi}{{ end }}
    - {name: tmp, emptyDir: {sizeLimit: 64Mi}}
    - {name: config, configMap: {name: {{ include "canary.fullname" $root }}}}
    - {name: tokens, secret: {secretName: {{ include "canary.tokens" $root }}, defaultMode: 0440}}
    {{- with $root.Values.tls.secretName }}
    - {name: tls, secret: {secretName: {{ . }}, defaultMode: 0440}}
    {{- end }}
  {{- with .settings.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .settings.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .settings.affinity }}
  affinity: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
