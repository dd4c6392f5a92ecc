{{/*
What pods of every component have: image, pull secrets, service account, security, placement, variables.
*/}}

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
