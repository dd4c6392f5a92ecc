{{- define "stack.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: fairlead
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- end }}

{{- /* Host and port of OTLP over HTTP. The operators name the Services of what they make by rules of their own. */}}
{{- define "stack.otlp" -}}
{{- $name := .Values.tracing.name }}
{{- if eq .Values.tracing.mode "jaeger" -}}
http://{{ .Values.jaeger.fullnameOverride }}.{{ .Release.Namespace }}.svc:4318
{{- else if ne .Values.tracing.mode "external" -}}
http://{{ $name }}-collector.{{ .Release.Namespace }}.svc:4318
{{- end -}}
{{- end }}

{{- /* Address of this release's Prometheus, by the naming rule of kube-prometheus-stack; empty without one. */}}
{{- define "stack.prometheus" -}}
{{- $chart := index .Values "kube-prometheus-stack" }}
{{- if and $chart.enabled (dig "prometheus" "enabled" true $chart) }}
{{- $name := $chart.nameOverride | default "kube-prometheus-stack" }}
{{- $name = ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) }}
{{- $name = $chart.fullnameOverride | default $name | trunc 26 | trimSuffix "-" }}
{{- $namespace := $chart.namespaceOverride | default .Release.Namespace -}}
http://{{ $name }}-prometheus.{{ $namespace }}.svc:{{ dig "prometheus" "service" "port" 9090 $chart }}
{{- end }}
{{- end }}

{{- /* Jaeger's query API, which its own UI uses too. */}}
{{- define "stack.query" -}}
{{- $name := .Values.tracing.name }}
{{- if eq .Values.tracing.mode "jaeger" -}}
{{ .Values.jaeger.fullnameOverride }}
{{- else if eq .Values.tracing.mode "otel-operator" -}}
{{ $name }}-collector
{{- else if eq .Values.tracing.mode "jaeger-operator" -}}
{{ $name }}-query
{{- end -}}
{{- end }}

{{- /* Values that contradict each other. */}}
{{- define "stack.check" -}}
{{- $mode := .Values.tracing.mode }}
{{- if and (eq $mode "jaeger") (not .Values.jaeger.enabled) }}
{{- fail "tracing.mode is jaeger, but jaeger.enabled is false: set tracing.mode to external (traces go elsewhere), otel-operator or jaeger-operator" }}
{{- end }}
{{- if and (ne $mode "jaeger") .Values.jaeger.enabled }}
{{- fail (printf "tracing.mode is %s, so nothing would use the Jaeger of this release: set jaeger.enabled to false" $mode) }}
{{- end }}
{{- if and (eq $mode "external") .Values.datasources.jaeger.enabled (not .Values.datasources.jaeger.url) }}
{{- fail "tracing.mode is external: set datasources.jaeger.url to the query API of your Jaeger, or datasources.jaeger.enabled to false" }}
{{- end }}
{{- $adapter := index .Values "prometheus-adapter" }}
{{- $prometheus := include "stack.prometheus" . }}
{{- $assumed := "http://monitoring-kube-prometheus-prometheus.monitoring.svc" }}
{{- if and $adapter.enabled $prometheus (eq $adapter.prometheus.url $assumed) (not (hasPrefix $assumed $prometheus)) }}
{{- fail (printf "prometheus-adapter.prometheus.url is %s, but Prometheus of this release is at %s: set that address" $assumed $prometheus) }}
{{- end }}
{{- end }}
