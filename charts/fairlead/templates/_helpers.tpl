{{/*
Names, labels, MLflow and monitors. Helpers that need to know a component take
(dict "root" $ "component" "api"); the component's values are then .root.Values.<component>.
*/}}

{{- define "fairlead.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "fairlead.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "fairlead.name" . -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "fairlead.componentName" -}}
{{- printf "%s-%s" (include "fairlead.fullname" .root) .component -}}
{{- end -}}

{{/* Selectors are immutable: nothing here may depend on a value other than the name. */}}
{{- define "fairlead.selectorLabels" -}}
app.kubernetes.io/name: {{ include "fairlead.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* Labels of pods: without the chart's version, so that a new chart restarts only what it changes. */}}
{{- define "fairlead.podLabels" -}}
{{- merge (include "fairlead.selectorLabels" . | fromYaml) (get .root.Values .component).podLabels .root.Values.commonLabels | toYaml -}}
{{- end -}}

{{- define "fairlead.labels" -}}
{{- $own := dict
      "helm.sh/chart" (printf "%s-%s" .root.Chart.Name (.root.Chart.Version | replace "+" "_"))
      "app.kubernetes.io/version" .root.Chart.AppVersion
      "app.kubernetes.io/managed-by" .root.Release.Service
      "app.kubernetes.io/part-of" "fairlead" -}}
{{- merge (include "fairlead.selectorLabels" . | fromYaml) $own .root.Values.commonLabels | toYaml -}}
{{- end -}}

{{- define "fairlead.mlflowName" -}}
{{- include "fairlead.componentName" (dict "root" . "component" "mlflow") -}}
{{- end -}}

{{- define "fairlead.trackingUri" -}}
{{- if .Values.mlflow.enabled -}}
{{- printf "http://%s.%s.svc:%d" (include "fairlead.mlflowName" .) .Release.Namespace (int .Values.mlflow.service.port) -}}
{{- else -}}
{{- required "mlflow.enabled is false: mlflow.external.trackingUri must name the MLflow server to use" .Values.mlflow.external.trackingUri -}}
{{- end -}}
{{- end -}}

{{/* Source of the volume with the authorities of an external MLflow's certificate, as YAML; empty for the system's. Without
the Secret's other keys, which may be private. */}}
{{- define "fairlead.mlflowCA" -}}
{{- if not .Values.mlflow.enabled -}}
{{- with .Values.mlflow.external -}}
{{- if and .caConfigMap .caSecret -}}
{{- fail "mlflow.external: set one of caConfigMap and caSecret" -}}
{{- end -}}
{{- $items := list (dict "key" "ca.crt" "path" "ca.crt") -}}
{{- if .caConfigMap -}}
{{- dict "configMap" (dict "name" .caConfigMap "items" $items) | toYaml -}}
{{- else if .caSecret -}}
{{- dict "secret" (dict "secretName" .caSecret "items" $items) | toYaml -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Of an MLflow that asks for credentials: somebody else's, or this release's with `mlflow.auth`. */}}
{{- define "fairlead.credentialsSecret" -}}
{{- if or (not .Values.mlflow.enabled) .Values.mlflow.auth.enabled -}}{{- .Values.mlflow.credentialsSecret -}}{{- end -}}
{{- end -}}

{{- define "fairlead.webhookSecret" -}}
{{- required "operator.webhook.enabled is true: operator.webhook.secret.name must name the Secret (docs/webhooks.md)" .Values.operator.webhook.secret.name -}}
{{- end -}}

{{/* One environment variable from the credentials, if they have it. Takes root, name and key. */}}
{{- define "fairlead.credential" -}}
name: {{ .name }}
valueFrom:
  secretKeyRef:
    name: {{ include "fairlead.credentialsSecret" .root }}
    key: {{ .key }}
    optional: true
{{- end -}}

{{/*
Values of `mlflow server --allowed-hosts`. Anything else is answered 403, and the option replaces MLflow's own defaults.
An entry is compared with the whole Host header, so each name is there as it is sent to port 80 and to the Service's port.
$(POD_IP) is filled in by the kubelet: exact, where MLflow's own `10.*` would also let `10.example.org` through.
*/}}
{{- define "fairlead.mlflowAllowedHosts" -}}
{{- $name := include "fairlead.mlflowName" . -}}
{{- $port := int .Values.mlflow.service.port -}}
{{- $namespace := .Release.Namespace -}}
{{- $hosts := list -}}
{{- range list "" (printf ".%s" $namespace) (printf ".%s.svc" $namespace) (printf ".%s.svc.%s" $namespace .Values.clusterDomain) -}}
{{- $hosts = concat $hosts (list (printf "%s%s" $name .) (printf "%s%s:%d" $name . $port)) -}}
{{- end -}}
{{- /* A port-forward may use any local port. */ -}}
{{- $hosts = concat $hosts (list "localhost" "localhost:*" "127.0.0.1" "127.0.0.1:*" "[::1]" "[[]::1]:*") -}}
{{- $hosts = concat $hosts (list "$(POD_IP)" "$(POD_IP):5000") -}}
{{- with .Values.mlflow -}}
{{- if .ingress.enabled -}}{{- $hosts = concat $hosts .ingress.hosts -}}{{- end -}}
{{- if .httpRoute.enabled -}}{{- $hosts = concat $hosts .httpRoute.hostnames -}}{{- end -}}
{{- end -}}
{{- concat $hosts .Values.mlflow.allowedHosts | uniq | join "," -}}
{{- end -}}

{{/* Labels that the operator puts on every predictor pod. */}}
{{- define "fairlead.predictorLabels" -}}
app.kubernetes.io/name: fairlead-predictor
app.kubernetes.io/component: predictor
{{- end -}}

{{/* Hosts of a component's routes, for notes; empty without any. The context is the component's values. */}}
{{- define "fairlead.hosts" -}}
{{- $hosts := concat (ternary .ingress.hosts list .ingress.enabled) (ternary .httpRoute.hostnames list .httpRoute.enabled) -}}
{{- with uniq $hosts }} at {{ join " and " . }}, or{{ end -}}
{{- end -}}

{{- define "fairlead.monitoringNamespace" -}}
{{- .Values.monitoring.namespace | default .Release.Namespace -}}
{{- end -}}

{{/* What every endpoint of a monitor has in common, but for relabelings. The context is monitoring. */}}
{{- define "fairlead.scrape" -}}
path: /metrics
interval: {{ .interval }}
{{- with .scrapeTimeout }}
scrapeTimeout: {{ . }}
{{- end }}
{{- with .metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Not empty if there is a pod of `helm test`. */}}
{{- define "fairlead.tested" -}}
{{- if and .Values.tests.enabled (or .Values.api.enabled .Values.mlflow.enabled) -}}yes{{- end -}}
{{- end -}}
