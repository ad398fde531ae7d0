{{- define "modelmora.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 40 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{/* What never changes of a component, by which it is selected: (root, component). */}}
{{- define "modelmora.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ default $root.Chart.Name $root.Values.nameOverride }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "modelmora.labels" -}}
{{- $root := index . 0 -}}
{{ include "modelmora.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name ($root.Chart.Version | replace "+" "_") }}
{{- end -}}

{{/* (root, the component's own image) */}}
{{- define "modelmora.image" -}}
{{- $root := index . 0 -}}
{{- $image := mergeOverwrite (deepCopy $root.Values.image) (index . 1) -}}
image: {{ printf "%s:%s" $image.repository (default $root.Chart.AppVersion $image.tag) | quote }}
imagePullPolicy: {{ $image.pullPolicy }}
{{- end -}}

{{- define "modelmora.serviceAccount" -}}
{{ default (include "modelmora.fullname" .) .Values.serviceAccount.name }}
{{- end -}}

{{/* The Secret of Kafka's password, or nothing. */}}
{{- define "modelmora.kafkaSecret" -}}
{{- if and .Values.kafka.passwordSecret.name .Values.kafka.password -}}
{{- fail "kafka.password and kafka.passwordSecret.name: give one of both" -}}
{{- else if .Values.kafka.passwordSecret.name -}}
{{ .Values.kafka.passwordSecret.name }}
{{- else if .Values.kafka.password -}}
{{ include "modelmora.fullname" . }}-kafka
{{- end -}}
{{- end -}}

{{- define "modelmora.cacheClaim" -}}
{{ default (printf "%s-cache" (include "modelmora.fullname" .)) .Values.cache.existingClaim }}
{{- end -}}
