{{/*
Names, labels and the parts every pod shares. Helpers that need to know a component take
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

{{/* registry/repository:tag, or @digest. Takes (dict "image" {...} "root" $). */}}
{{- define "fairlead.image" -}}
{{- $name := compact (list (.root.Values.global.imageRegistry | default .image.registry) .image.repository) | join "/" -}}
{{- if .image.digest -}}
{{- printf "%s@%s" $name .image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default .root.Chart.AppVersion .image.tag) -}}
{{- end -}}
{{- end -}}

{{/* Pull secrets of every pod, as a YAML list of {name}; empty without any. */}}
{{- define "fairlead.imagePullSecrets" -}}
{{- $secrets := .Values.imagePullSecrets -}}
{{- range .Values.global.imagePullSecrets -}}
{{- $secrets = append $secrets (kindIs "string" . | ternary (dict "name" .) .) -}}
{{- end -}}
{{- with $secrets -}}{{- uniq . | toYaml -}}{{- end -}}
{{- end -}}

{{- define "fairlead.serviceAccountName" -}}
{{- $account := (get .root.Values .component).serviceAccount -}}
{{- if $account.create -}}
{{- default (include "fairlead.componentName" .) $account.name -}}
{{- else -}}
{{- default "default" $account.name -}}
{{- end -}}
{{- end -}}

{{- define "fairlead.serviceAccount" -}}
{{- $account := (get .root.Values .component).serviceAccount -}}
{{- if $account.create -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "fairlead.serviceAccountName" . }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "fairlead.labels" . | nindent 4 }}
  {{- with $account.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
{{- end -}}
{{- end -}}

{{/* Security of every pod: the `restricted` Pod Security Standard. */}}
{{- define "fairlead.podSecurityContext" -}}
runAsNonRoot: true
{{- range $key, $value := .Values.podSecurityContext }}
{{- if not (kindIs "invalid" $value) }}
{{ $key }}: {{ int64 $value }}
{{- end }}
{{- end }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "fairlead.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* The fields of a pod's spec that every component has in common. */}}
{{- define "fairlead.podSpec" -}}
{{- $values := get .root.Values .component -}}
serviceAccountName: {{ include "fairlead.serviceAccountName" . }}
{{- /* Services here are called fairlead-…: their link variables (FAIRLEAD_API_PORT=tcp://…) would be read as settings. */}}
enableServiceLinks: false
securityContext:
  {{- include "fairlead.podSecurityContext" .root | nindent 2 }}
{{- with include "fairlead.imagePullSecrets" .root }}
imagePullSecrets:
  {{- . | nindent 2 }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.topologySpreadConstraints }}
{{- $selector := dict "labelSelector" (dict "matchLabels" (include "fairlead.selectorLabels" $ | fromYaml)) }}
topologySpreadConstraints:
  {{- range . }}
  - {{ merge (deepCopy .) (hasKey . "labelSelector" | ternary dict $selector) | toYaml | nindent 4 | trim }}
  {{- end }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if $values.affinity }}
affinity:
  {{- toYaml $values.affinity | nindent 2 }}
{{- else if hasKey $values "replicas" }}
{{- /* Whatever their number, so that raising it restarts none. */}}
affinity:
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
              {{- include "fairlead.selectorLabels" . | nindent 14 }}
{{- end }}
{{- end -}}

{{/*
A container's env: the chart's own (.env, a list) with the component's extraEnv laid over it by name.
Server-side apply refuses a name that appears twice, so it never does.
*/}}
{{- define "fairlead.env" -}}
{{- $extra := (get .root.Values .component).extraEnv -}}
{{- $names := dict -}}
{{- range $extra -}}
{{- if hasKey $names .name -}}
{{- fail (printf "%s.extraEnv: %s appears twice; each name must appear once" $.component .name) -}}
{{- end -}}
{{- $_ := set $names .name true -}}
{{- end -}}
{{- $env := list -}}
{{- range .env -}}
{{- if not (hasKey $names .name) -}}{{- $env = append $env . -}}{{- end -}}
{{- end -}}
{{- toYaml (concat $env $extra) -}}
{{- end -}}

{{/* The tracing variables, as a YAML list; empty without an endpoint. */}}
{{- define "fairlead.tracingEnv" -}}
{{- with .root.Values.tracing -}}
{{- if .endpoint -}}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ .endpoint | quote }}
- name: OTEL_TRACES_SAMPLER
  value: parentbased_traceidratio
- name: OTEL_TRACES_SAMPLER_ARG
  value: {{ .sampleRatio | quote }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The API's identity provider, as a YAML list; empty without one. The context is api.auth.oidc. */}}
{{- define "fairlead.oidcEnv" -}}
{{- if .issuer -}}
{{- if not .audience -}}
{{- fail "api.auth.oidc.issuer is set: api.auth.oidc.audience must say what the tokens' claim aud names, or tokens for other services would be taken" -}}
{{- end -}}
- name: FAIRLEAD_OIDC_ISSUER
  value: {{ .issuer | quote }}
- name: FAIRLEAD_OIDC_AUDIENCE
  value: {{ .audience | quote }}
- name: FAIRLEAD_OIDC_SUBJECT_CLAIM
  value: {{ .subjectClaim | quote }}
- name: FAIRLEAD_OIDC_ROLES_CLAIM
  value: {{ .rolesClaim | quote }}
{{- with .jwksUrl }}
- name: FAIRLEAD_OIDC_JWKS_URL
  value: {{ . | quote }}
{{- end }}
{{- with .caConfigMap }}
- name: FAIRLEAD_OIDC_CA_FILE
  value: /etc/fairlead/oidc-ca/ca.crt
{{- end }}
{{- with .roles }}
- name: FAIRLEAD_OIDC_ROLES
  value: {{ toJson . | quote }}
{{- end }}
{{- else if .audience -}}
{{- fail "api.auth.oidc.audience is set: api.auth.oidc.issuer must name the provider, too" -}}
{{- end -}}
{{- end -}}

{{/* A whole number, given as such or as text, in decimal digits: Helm's numbers may be floating. */}}
{{- define "fairlead.digits" -}}
{{- if kindIs "string" . -}}{{ . }}{{- else -}}{{ int64 . }}{{- end -}}
{{- end -}}

{{/* The bundle cache of a loader in this release, as a YAML list; empty without one. */}}
{{- define "fairlead.cacheEnv" -}}
{{- with .Values.cache -}}
{{- if .url -}}
{{- if and .signed (not .secretName) -}}
{{- fail "cache.signed is true: cache.secretName must name the Secret with the key signing-key" -}}
{{- end -}}
- name: FAIRLEAD_CACHE_URL
  value: {{ .url | quote }}
- name: FAIRLEAD_CACHE_MAX_BYTES
  value: {{ include "fairlead.digits" .maxBytes | quote }}
- name: FAIRLEAD_CACHE_SIGNED
  value: {{ .signed | quote }}
{{- $secret := .secretName -}}
{{- if $secret -}}
{{- range $name, $key := dict "CA" "ca.crt" "PASSWORD" "password" "SIGNING_KEY" "signing-key" }}
- name: FAIRLEAD_CACHE_{{ $name }}
  valueFrom:
    secretKeyRef: {name: {{ $secret }}, key: {{ $key }}, optional: true}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
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
