{{/*
Where the bundled MLflow keeps what: its database, its artifacts, its users. No password is in an argument or a URI here:
libpq, boto3 and MLflow read theirs from the environment.
*/}}

{{/* Fails on values that contradict each other; what else a server would only say when it starts. */}}
{{- define "fairlead.mlflowCheck" -}}
{{- $mlflow := .Values.mlflow -}}
{{- $store := $mlflow.backendStore -}}
{{- $postgresql := $store.postgresql -}}
{{- $chosen := compact (list $store.uri $store.existingSecret.name $postgresql.host) -}}
{{- if gt (len $chosen) 1 -}}
{{- fail "mlflow.backendStore: set one of uri, existingSecret.name and postgresql.host" -}}
{{- end -}}
{{- if and $postgresql.host (not $postgresql.existingSecret.name) -}}
{{- fail "mlflow.backendStore.postgresql.host is set: existingSecret.name must name the Secret with the user's password" -}}
{{- end -}}
{{- if and $postgresql.host (hasPrefix "verify-" $postgresql.sslMode) (not $postgresql.caSecret.name) -}}
{{- fail (printf "mlflow.backendStore.postgresql.sslMode is %s: caSecret.name must name the Secret with the authority's certificates" $postgresql.sslMode) -}}
{{- end -}}
{{- if and $mlflow.artifacts.s3.bucket $mlflow.artifactsDestination -}}
{{- fail "mlflow: set one of artifactsDestination and artifacts.s3.bucket" -}}
{{- end -}}
{{- $official := and (hasSuffix "mlflow/mlflow" $mlflow.image.repository) (not $mlflow.image.digest) (regexMatch "^v[0-9.]+$" $mlflow.image.tag) -}}
{{- if and $official (or $postgresql.host $mlflow.artifacts.s3.bucket $mlflow.auth.enabled) -}}
{{- fail (printf "mlflow.image.tag: %s has neither the drivers of PostgreSQL and S3 nor Flask-WTF; set it to %s-full" $mlflow.image.tag $mlflow.image.tag) -}}
{{- end -}}
{{- $database := include "fairlead.mlflowLocalDatabase" . -}}
{{- $artifacts := include "fairlead.mlflowLocalArtifacts" . -}}
{{- if and (gt (int $mlflow.replicas) 1) (or $database $artifacts) -}}
{{- fail (printf "mlflow.replicas is %d, but %s in one pod only: set mlflow.backendStore and mlflow.artifacts.s3, or one replica (docs/mlflow-storage.md)" (int $mlflow.replicas) (ternary "the SQLite database is" "the artifacts' directory is" (ne $database ""))) -}}
{{- end -}}
{{- if and (gt (int $mlflow.replicas) 1) $mlflow.upgradeDatabase -}}
{{- fail "mlflow.upgradeDatabase: two servers would migrate the database at once; set mlflow.replicas to 1 for the upgrade" -}}
{{- end -}}
{{- if $mlflow.auth.enabled -}}
{{- if not $mlflow.auth.adminSecret -}}
{{- fail "mlflow.auth.enabled is true: mlflow.auth.adminSecret must name the Secret with the administrator (docs/mlflow-storage.md)" -}}
{{- end -}}
{{- if not $mlflow.credentialsSecret -}}
{{- fail "mlflow.auth.enabled is true: mlflow.credentialsSecret must name the Secret with the user that the API and the operator are (docs/mlflow-storage.md)" -}}
{{- end -}}
{{- if $store.existingSecret.name -}}
{{- fail "mlflow.auth.enabled is true: MLflow reads its users' database from a file, so backendStore.existingSecret cannot be used; set backendStore.postgresql" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Not empty if the database is a file on the volume. What is in a Secret is taken for a server's address. */}}
{{- define "fairlead.mlflowLocalDatabase" -}}
{{- $store := .Values.mlflow.backendStore -}}
{{- if not (or $store.existingSecret.name $store.postgresql.host) -}}
{{- if hasPrefix "sqlite" ($store.uri | default "sqlite") -}}yes{{- end -}}
{{- end -}}
{{- end -}}

{{/* Not empty if artifacts are in a directory. */}}
{{- define "fairlead.mlflowLocalArtifacts" -}}
{{- $destination := include "fairlead.mlflowArtifacts" . -}}
{{- if or (hasPrefix "file:" $destination) (not (contains "://" $destination)) -}}yes{{- end -}}
{{- end -}}

{{/* Not empty if the pod needs its volume. */}}
{{- define "fairlead.mlflowVolume" -}}
{{- include "fairlead.mlflowLocalDatabase" . -}}{{- include "fairlead.mlflowLocalArtifacts" . -}}
{{- end -}}

{{- define "fairlead.mlflowArtifacts" -}}
{{- $s3 := .Values.mlflow.artifacts.s3 -}}
{{- if $s3.bucket -}}
{{- compact (list "s3:/" $s3.bucket $s3.prefix) | join "/" -}}
{{- else -}}
{{- .Values.mlflow.artifactsDestination | default "/mlflow/artifacts" -}}
{{- end -}}
{{- end -}}

{{/* The database's URI where it is no secret. `postgresql://`: libpq takes everything from its own variables. */}}
{{- define "fairlead.mlflowDatabase" -}}
{{- $store := .Values.mlflow.backendStore -}}
{{- if $store.postgresql.host -}}postgresql://{{- else -}}{{- $store.uri | default "sqlite:////mlflow/mlflow.db" -}}{{- end -}}
{{- end -}}

{{/* Environment of whatever opens the database, as a YAML list. */}}
{{- define "fairlead.mlflowDatabaseEnv" -}}
{{- $store := .Values.mlflow.backendStore -}}
- name: MLFLOW_BACKEND_STORE_URI
{{- if $store.existingSecret.name }}
  valueFrom:
    secretKeyRef: {name: {{ $store.existingSecret.name }}, key: {{ $store.existingSecret.key }}}
{{- else }}
  value: {{ include "fairlead.mlflowDatabase" . | quote }}
{{- end }}
{{- with $store.postgresql }}
{{- if .host }}
- name: PGHOST
  value: {{ .host | quote }}
- name: PGPORT
  value: {{ .port | quote }}
- name: PGDATABASE
  value: {{ .database | quote }}
- name: PGUSER
  value: {{ .user | quote }}
- name: PGPASSWORD
  valueFrom:
    secretKeyRef: {name: {{ .existingSecret.name }}, key: {{ .existingSecret.key }}}
- name: PGSSLMODE
  value: {{ .sslMode }}
{{- if .caSecret.name }}
- name: PGSSLROOTCERT
  value: /etc/fairlead/postgresql/{{ .caSecret.key }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Environment of what reads and writes artifacts in S3, as a YAML list; empty for other stores. */}}
{{- define "fairlead.mlflowS3Env" -}}
{{- with .Values.mlflow.artifacts.s3 -}}
{{- if .bucket -}}
- name: MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE
  value: {{ ternary "path" "auto" .pathStyle }}
{{- with .endpoint }}
- name: MLFLOW_S3_ENDPOINT_URL
  value: {{ . | quote }}
{{- end }}
{{- with .region }}
- name: AWS_DEFAULT_REGION
  value: {{ . | quote }}
{{- end }}
{{- if .caSecret.name }}
- name: AWS_CA_BUNDLE
  value: /etc/fairlead/s3/{{ .caSecret.key }}
{{- end }}
{{- with .credentialsSecret }}
{{- range list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" }}
- name: {{ . }}
  valueFrom:
    secretKeyRef: {name: {{ $.Values.mlflow.artifacts.s3.credentialsSecret }}, key: {{ . }}}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Environment of the basic-auth app, as a YAML list; empty without it. */}}
{{- define "fairlead.mlflowAuthEnv" -}}
{{- with .Values.mlflow.auth -}}
{{- if .enabled -}}
- name: MLFLOW_AUTH_CONFIG_PATH
  value: /etc/fairlead/auth/basic_auth.ini
{{- range list "MLFLOW_AUTH_ADMIN_USERNAME" "MLFLOW_AUTH_ADMIN_PASSWORD" "MLFLOW_FLASK_SERVER_SECRET_KEY" }}
- name: {{ . }}
  valueFrom:
    secretKeyRef: {name: {{ $.Values.mlflow.auth.adminSecret }}, key: {{ . }}}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The basic-auth app's file: its users are in the same database, in tables of their own. */}}
{{- define "fairlead.mlflowAuthConfig" -}}
[mlflow]
default_permission = {{ .Values.mlflow.auth.defaultPermission }}
auth_cache_ttl_seconds = {{ .Values.mlflow.auth.cacheSeconds }}
database_uri = {{ include "fairlead.mlflowDatabase" . | replace "%" "%%" }}
{{- end -}}

{{/* (name, what to mount, where) of everything but /tmp, as a YAML list of {volume, mount}. */}}
{{- define "fairlead.mlflowFiles" -}}
{{- $component := dict "root" . "component" "mlflow" -}}
{{- $claim := .Values.mlflow.persistence -}}
{{- $files := list -}}
{{- if include "fairlead.mlflowVolume" . -}}
{{- $data := dict "emptyDir" (dict "sizeLimit" $claim.size) -}}
{{- if $claim.enabled -}}
{{- $data = dict "persistentVolumeClaim" (dict "claimName" ($claim.existingClaim | default (include "fairlead.componentName" $component))) -}}
{{- end -}}
{{- $files = append $files (dict "volume" (merge (dict "name" "data") $data) "mount" (dict "name" "data" "mountPath" "/mlflow")) -}}
{{- end -}}
{{- with .Values.mlflow.backendStore.postgresql -}}
{{- if and .host .caSecret.name -}}
{{- $files = append $files (dict "volume" (dict "name" "postgresql-ca" "secret" (dict "secretName" .caSecret.name)) "mount" (dict "name" "postgresql-ca" "mountPath" "/etc/fairlead/postgresql" "readOnly" true)) -}}
{{- end -}}
{{- end -}}
{{- with .Values.mlflow.artifacts.s3 -}}
{{- if and .bucket .caSecret.name -}}
{{- $files = append $files (dict "volume" (dict "name" "s3-ca" "secret" (dict "secretName" .caSecret.name)) "mount" (dict "name" "s3-ca" "mountPath" "/etc/fairlead/s3" "readOnly" true)) -}}
{{- end -}}
{{- end -}}
{{- if .Values.mlflow.auth.enabled -}}
{{- $files = append $files (dict "volume" (dict "name" "auth" "configMap" (dict "name" (include "fairlead.componentName" $component))) "mount" (dict "name" "auth" "mountPath" "/etc/fairlead/auth" "readOnly" true)) -}}
{{- end -}}
{{- toYaml $files -}}
{{- end -}}
