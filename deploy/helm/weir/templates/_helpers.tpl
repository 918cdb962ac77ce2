{{/* What is the same in the DaemonSet's selector for ever. */}}
{{- define "weir.selectorLabels" -}}
app.kubernetes.io/name: weir
{{- end }}

{{- define "weir.labels" -}}
{{ include "weir.selectorLabels" . }}
app.kubernetes.io/component: proxy
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "weir.image" -}}
{{- $repository := required "image.repository: say where you have pushed weir's image to" .Values.image.repository -}}
{{- if .Values.image.digest -}}
{{ $repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ $repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* KubeProxyConfiguration: the values, and what the chart itself decides. */}}
{{- define "weir.config" -}}
{{- $fixed := dict
  "apiVersion" "kubeproxy.config.k8s.io/v1alpha1"
  "kind" "KubeProxyConfiguration"
  "clientConnection" (dict "kubeconfig" "/etc/weir/kubeconfig.conf") -}}
{{ toYaml (mergeOverwrite (deepCopy .Values.config) $fixed) }}
{{- end }}

{{/* A server without the Service that weir itself makes work. */}}
{{- define "weir.kubeconfig" -}}
apiVersion: v1
kind: Config
clusters:
- name: default
  cluster:
    certificate-authority: /var/run/secrets/kubernetes.io/serviceaccount/ca.crt
    server: {{ required "apiServer: say where the API server is, such as https://control-plane.example.net:6443" .Values.apiServer }}
contexts:
- name: default
  context: {cluster: default, user: default}
current-context: default
users:
- name: default
  user:
    tokenFile: /var/run/secrets/kubernetes.io/serviceaccount/token
{{- end }}

{{/*
What config.healthzBindAddress means for a probe: the port, and the host unless it is any address. The
kubelet asks the Pod's address, which is the node's, if it is not told another.
*/}}
{{- define "weir.healthz" -}}
{{- $host := .Values.config.healthzBindAddress | default "" -}}
{{- $port := "10256" -}}
{{- if or (regexMatch "^[^:]*:[0-9]+$" $host) (regexMatch "^\\[.*\\]:[0-9]+$" $host) -}}
{{- $port = regexFind "[0-9]+$" $host -}}
{{- $host = $host | trimSuffix (print ":" $port) | trimPrefix "[" | trimSuffix "]" -}}
{{- end -}}
port: {{ $port }}
{{- if not (regexMatch "^[0.:]*$" $host) }}
host: {{ $host | quote }}
{{- end }}
{{- end }}

{{- define "weir.files" -}}
config.conf: |
  {{- include "weir.config" . | nindent 2 }}
kubeconfig.conf: |
  {{- include "weir.kubeconfig" . | nindent 2 }}
{{- end }}

{{/*
Named after its content: the kubelets would give other content under the same name to all nodes within a
minute, and weir applies it at once. Another name goes the way of an update, some nodes at a time.
*/}}
{{- define "weir.configMapName" -}}
weir-{{ include "weir.files" . | sha256sum | trunc 10 }}
{{- end }}
