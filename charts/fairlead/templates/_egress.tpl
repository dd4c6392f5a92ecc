{{/* The TCP port that a URL leads to, in decimal digits. */}}
{{- define "fairlead.portOf" -}}
{{- $url := urlParse . -}}
{{- $named := regexFind ":[0-9]+$" $url.host -}}
{{- if $named -}}
{{- trimPrefix ":" $named -}}
{{- else -}}
{{- get (dict "https" "443" "redis" "6379" "rediss" "6379" "postgresql" "5432" "mysql" "3306") $url.scheme | default "80" -}}
{{- end -}}
{{- end -}}

{{/* Ports that a component connects to besides those of names, as a JSON list. The context has root and component. Policies
see ports of pods, which for what is in this release are not those of Services. */}}
{{- define "fairlead.egressPorts" -}}
{{- $values := .root.Values -}}
{{- $ports := list -}}
{{- $urls := list $values.tracing.endpoint -}}
{{- if eq .component "mlflow" -}}
{{- $store := $values.mlflow.backendStore -}}
{{- $ports = append $ports (ternary $store.postgresql.port 5432 (ne $store.postgresql.host "")) -}}
{{- $urls = concat $urls (list $store.uri $values.mlflow.artifacts.s3.endpoint) -}}
{{- $ports = append $ports 443 -}}
{{- if $values.operator.webhook.enabled -}}{{- $ports = append $ports 8081 -}}{{- end -}}
{{- else -}}
{{- if $values.mlflow.enabled -}}
{{- $ports = append $ports 5000 -}}
{{- else -}}
{{- $urls = append $urls (include "fairlead.trackingUri" .root) -}}
{{- end -}}
{{- end -}}
{{- if eq .component "api" -}}
{{- $urls = concat $urls (list $values.cache.url $values.api.auth.oidc.issuer $values.api.auth.oidc.jwksUrl) -}}
{{- end -}}
{{- if eq .component "operator" -}}
{{- $ports = concat $ports (list 443 6443 8000 8443) -}}
{{- $urls = append $urls $values.operator.prometheus.url -}}
{{- end -}}
{{- range without $urls "" -}}
{{- $ports = append $ports (include "fairlead.portOf" . | int) -}}
{{- end -}}
{{- $numbers := list -}}
{{- range concat $ports $values.networkPolicy.egress.ports -}}{{- $numbers = append $numbers (int .) -}}{{- end -}}
{{- $numbers | uniq | toJson -}}
{{- end -}}
