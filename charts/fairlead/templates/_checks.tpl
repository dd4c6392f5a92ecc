{{/* Every value at a path with `*` for each entry, as JSON objects {path, value}, each with a comma behind it. Takes value,
the path so far, and rest: the segments that are left. */}}
{{- define "fairlead.valuesAt" -}}
{{- $value := .value -}}
{{- $path := .path -}}
{{- if kindIs "invalid" $value -}}
{{- else if not .rest -}}
{{- dict "path" $path "value" $value | toJson -}},
{{- else -}}
{{- $rest := rest .rest -}}
{{- $key := first .rest -}}
{{- if and (eq $key "*") (or (kindIs "slice" $value) (kindIs "map" $value)) -}}
{{- $list := kindIs "slice" $value -}}
{{- range $name, $one := $value -}}
{{- include "fairlead.valuesAt" (dict "value" $one "path" (ternary (printf "%s[%v]" $path $name) (printf "%s.%v" $path $name) $list) "rest" $rest) -}}
{{- end -}}
{{- else if and (kindIs "map" $value) (hasKey $value $key) -}}
{{- include "fairlead.valuesAt" (dict "value" (get $value $key) "path" (list $path $key | compact | join ".") "rest" $rest) -}}
{{- end -}}
{{- end -}}
{{- end -}}
