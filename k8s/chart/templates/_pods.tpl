{{/* What pods of all components have alike: (root, component, its values). */}}
{{- define "modelmora.podMetadata" -}}
{{- $root := index . 0 -}}
{{- $own := index . 2 -}}
labels:
  {{- include "modelmora.selector" . | nindent 2 }}
  {{- with $own.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  # A changed setting is a new pod.
  checksum/settings: {{ include "modelmora.settings" $root | sha256sum }}
  {{- with $own.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "modelmora.podSafety" -}}
serviceAccountName: {{ include "modelmora.serviceAccount" . }}
automountServiceAccountToken: false
# Variables of services, such as MODELMORA_GATEWAY_PORT, are none of ours.
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  # A volume of many models is not gone through at each start.
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "modelmora.containerSafety" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end -}}

{{/* Where a pod may run: (root, component, its values). */}}
{{- define "modelmora.placement" -}}
{{- $own := index . 2 -}}
topologySpreadConstraints:
  {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "modelmora.selector" $ | nindent 8 }}
  {{- end }}
{{- with $own.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{/* Variables of all processes: (root, the component's values). */}}
{{- define "modelmora.env" -}}
{{- $values := (index . 0).Values -}}
{{- with include "modelmora.kafkaSecret" (index . 0) }}
- name: MODELMORA_KAFKA__SASL_PASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ . }}
      key: {{ $values.kafka.passwordSecret.key }}
{{- end }}
{{- with $values.clusterSecret.name }}
- name: MODELMORA_ACCESS__CLUSTER_SECRET
  valueFrom:
    secretKeyRef:
      name: {{ . }}
      key: {{ $values.clusterSecret.key }}
{{- end }}
{{- with (index . 1).env }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "modelmora.probes" -}}
{{- $scheme := ternary "HTTPS" "HTTP" (ne .Values.tls.secret "") -}}
startupProbe:
  httpGet: {path: /health/started, port: http, scheme: {{ $scheme }}}
  periodSeconds: 2
  timeoutSeconds: 5
  failureThreshold: 150
livenessProbe:
  httpGet: {path: /health/live, port: http, scheme: {{ $scheme }}}
  periodSeconds: 10
  timeoutSeconds: 5
readinessProbe:
  httpGet: {path: /health/ready, port: http, scheme: {{ $scheme }}}
  periodSeconds: 5
  timeoutSeconds: 5
{{- end -}}

{{- define "modelmora.mounts" -}}
- {name: config, mountPath: /etc/modelmora, readOnly: true}
- {name: data, mountPath: /var/lib/modelmora}
- {name: tmp, mountPath: /tmp}
{{- if .Values.kafka.caSecret.name }}
- {name: kafka-ca, mountPath: /etc/modelmora-kafka, readOnly: true}
{{- end }}
{{- if .Values.tls.secret }}
- {name: tls, mountPath: /etc/modelmora-tls, readOnly: true}
{{- end }}
{{- end -}}

{{- define "modelmora.volumes" -}}
- name: config
  configMap:
    name: {{ include "modelmora.fullname" . }}
- name: tmp
  emptyDir: {}
{{- with .Values.kafka.caSecret.name }}
- name: kafka-ca
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- with .Values.tls.secret }}
- name: tls
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- end -}}
