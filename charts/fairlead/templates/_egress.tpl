{{/* The TCP ports that a URL leads to, as a JSON list; of a file none. Takes url, and value: which value that is, for the
error. Drivers are passed over (`mysql+pymysql`), and a database may have several hosts. Nothing of the URL but its scheme
is in the error: it may hold a password. */}}
{{- define "fairlead.portsOf" -}}
{{- $scheme := regexFind "^[^:/]+" .url | lower | splitList "+" | first -}}
{{- $authority := regexFind "^[^:/]+://[^/?#]*" .url | regexFind "[^/@]*$" -}}
{{- $ports := list -}}
{{- range regexFindAll ":[0-9]+(,|$)" (regexReplaceAll "\\[[^\\]]*\\]" $authority "") -1 -}}
{{- $ports = append $ports (regexFind "[0-9]+" . | int) -}}
{{- end -}}
{{- $usual := dict "http" 80 "https" 443 "redis" 6379 "rediss" 6379 "postgresql" 5432 "postgres" 5432 "mysql" 3306 "mariadb" 3306 "mssql" 1433 -}}
{{- if or $ports (has $scheme (list "sqlite" "file")) -}}
{{- toJson $ports -}}
{{- else if hasKey $usual $scheme -}}
{{- list (get $usual $scheme) | toJson -}}
{{- else -}}
{{- fail (printf "networkPolicy.egress.enabled is true, but no port is known for %s://, the scheme of %s: write the port into that URL (%s://HOST:PORT/…), or switch networkPolicy.egress.enabled off" $scheme .value $scheme) -}}
{{- end -}}
{{- end -}}

{{/* Ports that a component connects to besides those of names, as a JSON list. The context has root and component. Policies
see ports of pods, which for what is in this release are not those of Services. */}}
{{- define "fairlead.egressPorts" -}}
{{- $values := .root.Values -}}
{{- $ports := list -}}
{{- $urls := dict -}}
{{- if eq .component "mlflow" -}}
{{- $store := $values.mlflow.backendStore -}}
{{- if $store.postgresql.host -}}{{- $ports = append $ports $store.postgresql.port -}}
{{- else if $store.existingSecret.name -}}{{- $ports = append $ports 5432 -}}
{{- else -}}{{- $_ := set $urls "mlflow.backendStore.uri" $store.uri -}}
{{- end -}}
{{- $_ := set $urls "mlflow.artifacts.s3.endpoint" $values.mlflow.artifacts.s3.endpoint -}}
{{- if not (include "fairlead.mlflowLocalArtifacts" .root) -}}{{- $ports = append $ports 443 -}}{{- end -}}
{{- if $values.operator.webhook.enabled -}}{{- $ports = append $ports 8081 -}}{{- end -}}
{{- else if $values.mlflow.enabled -}}
{{- $ports = append $ports 5000 -}}
{{- else if ne .component "test" -}}
{{- $_ := set $urls "mlflow.external.trackingUri" (include "fairlead.trackingUri" .root) -}}
{{- end -}}
{{- if eq .component "test" -}}
{{- if $values.api.enabled -}}{{- $ports = append $ports 8000 -}}{{- end -}}
{{- if $values.api.tls.secretName -}}{{- $ports = append $ports 8443 -}}{{- end -}}
{{- else if ne .component "mlflow" -}}
{{- $_ := set $urls "tracing.endpoint" $values.tracing.endpoint -}}
{{- end -}}
{{- if eq .component "api" -}}
{{- $_ := set $urls "cache.url" $values.cache.url -}}
{{- $_ := set $urls "api.auth.oidc.issuer" $values.api.auth.oidc.issuer -}}
{{- $_ := set $urls "api.auth.oidc.jwksUrl" $values.api.auth.oidc.jwksUrl -}}
{{- end -}}
{{- if eq .component "operator" -}}
{{- $ports = concat $ports (list 443 6443 8000 8443) -}}
{{- $_ := set $urls "operator.prometheus.url" $values.operator.prometheus.url -}}
{{- end -}}
{{- range $value, $url := $urls -}}
{{- if $url -}}
{{- $ports = concat $ports (include "fairlead.portsOf" (dict "url" $url "value" $value) | fromJsonArray) -}}
{{- end -}}
{{- end -}}
{{- $numbers := list -}}
{{- range concat $ports $values.networkPolicy.egress.ports -}}{{- $numbers = append $numbers (int .) -}}{{- end -}}
{{- $numbers | uniq | toJson -}}
{{- end -}}
