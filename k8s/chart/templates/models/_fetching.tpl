{{/* What a PersistentVolumeClaim asks for: (name, size and storageClass, access mode). */}}
{{- define "modelmora.claim" -}}
{{- $of := index . 1 -}}
accessModes: [{{ index . 2 }}]
{{- with $of.storageClass }}
storageClassName: {{ . }}
{{- end }}
resources:
  requests:
    storage: {{ $of.size }}
{{- end -}}

{{/* A container for each model that lies elsewhere; `install` returns at once where it is there already. */}}
{{- define "modelmora.fetching" -}}
{{- if .Values.preload.enabled }}
{{- range $i, $model := .Values.models }}
{{- if not (or (hasPrefix "package:" $model.source) (hasPrefix "/" $model.source) (hasPrefix "." $model.source)) }}
- name: fetch-{{ $i }}
  {{- include "modelmora.image" (list $ $.Values.node.image) | nindent 2 }}
  args:
    - install
    - {{ $model.source | quote }}
    - --name={{ $model.name }}
    - --task={{ $model.task }}
    {{- with $model.version }}
    - --version={{ . }}
    {{- end }}
    {{- with $model.revision }}
    - --revision={{ . }}
    {{- end }}
    {{- with get $.Values.preload.acceptLicences $model.name }}
    - --accept-licence={{ . }}
    {{- end }}
    - --data-dir=/tmp/fetched
    - --config=/etc/modelmora/modelmora.yaml
  {{- with $.Values.node.env }}
  env:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $.Values.node.envFrom }}
  envFrom:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  resources:
    {{- toYaml $.Values.preload.resources | nindent 4 }}
  {{- include "modelmora.containerSafety" $ | nindent 2 }}
  volumeMounts:
    - {name: config, mountPath: /etc/modelmora, readOnly: true}
    - {name: cache, mountPath: /var/cache/modelmora}
    - {name: tmp, mountPath: /tmp}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}
