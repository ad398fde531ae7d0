{{/* modelmora.yaml: what the values say, and over it `settings`. */}}
{{- define "modelmora.settings" -}}
{{- $elsewhere := dict
  "namespace" "kafka.namespace" "bootstrap_servers" "kafka.bootstrapServers" "models" "models"
  "data_dir" "node.data" "cache_dir" "cache" "member_id" "the name of the pod" "dynamic_member" "the name of the pod" "role" "the component"
  "http_port" "gateway.service" "grpc_port" "gateway.service" "node_http_port" "the chart itself" -}}
{{- range $name, $where := $elsewhere -}}
{{- if hasKey $.Values.settings $name -}}
{{- fail (printf "settings.%s: the pods depend on it; here %s says it" $name $where) -}}
{{- end -}}
{{- end -}}
{{- if has (.Values.settings.host | default "") (list "127.0.0.1" "localhost" "::1") -}}
{{- fail "settings.host: nobody outside the pod, no probe either, reaches one that listens on it alone" -}}
{{- end -}}
{{- $stop := dig "timing" "stop_s" 45 .Values.settings -}}
{{- range $component, $before := dict "node" 0 "gateway" .Values.gateway.preStopSeconds -}}
{{- $own := index $.Values $component -}}
{{- if le (float64 $own.terminationGracePeriodSeconds) (addf $before $stop) -}}
{{- fail (printf "%s.terminationGracePeriodSeconds: it is killed before it has stopped; more than %g, which settings.timing.stop_s%s may take" $component (addf $before $stop) (ternary " and gateway.preStopSeconds" "" (eq $component "gateway"))) -}}
{{- end -}}
{{- if and $own.autoscaling.enabled (gt (int $own.autoscaling.minReplicas) (int $own.autoscaling.maxReplicas)) -}}
{{- fail (printf "%s.autoscaling: minReplicas is above maxReplicas" $component) -}}
{{- end -}}
{{- end -}}
{{- range $secret := .Files.Get "files/secrets.yaml" | fromYamlArray -}}
{{- $part := splitList "." $secret -}}
{{- if dig (first $part) (last $part) "" $.Values.settings -}}
{{- fail (printf "settings.%s: a secret does not belong in a ConfigMap; lay it into a Secret and name that in gateway.envFrom and node.envFrom, as MODELMORA_%s" $secret (upper $secret | replace "." "__")) -}}
{{- end -}}
{{- end -}}
{{- $kafka := dict "security_protocol" .Values.kafka.securityProtocol -}}
{{- if hasPrefix "SASL" .Values.kafka.securityProtocol -}}
{{- $kafka = merge $kafka (dict "sasl_mechanism" .Values.kafka.saslMechanism "sasl_username" (required "kafka.saslUsername: brokers with SASL ask for a name" .Values.kafka.saslUsername)) -}}
{{- end -}}
{{- if and (hasPrefix "SASL" .Values.kafka.securityProtocol) (not (include "modelmora.kafkaSecret" .)) (not (dig "kafka" "sasl_password_file" "" .Values.settings)) -}}
{{- fail "kafka.passwordSecret.name: brokers with SASL ask for a password" -}}
{{- end -}}
{{- if .Values.kafka.caSecret.name -}}
{{- $kafka = set $kafka "ssl_cafile" (printf "/etc/modelmora-kafka/%s" .Values.kafka.caSecret.key) -}}
{{- end -}}
{{- $made := dict
  "namespace" .Values.kafka.namespace
  "bootstrap_servers" .Values.kafka.bootstrapServers
  "data_dir" "/var/lib/modelmora"
  "cache_dir" "/var/cache/modelmora"
  "host" "0.0.0.0"
  "kafka" $kafka
  "access" (dict "keys_file" "/etc/modelmora-keys/keys.json" "pepper_file" "/etc/modelmora-keys/keys.pepper")
  "log" (dict "format" "json") -}}
{{- if .Values.tls.secret -}}
{{- $made = set $made "tls" (dict "certfile" "/etc/modelmora-tls/tls.crt" "keyfile" "/etc/modelmora-tls/tls.key") -}}
{{- else -}}
{{- $made = set $made "insecure_bind" true -}}
{{- end -}}
{{- if .Values.strimzi.topics.enabled -}}
{{- $made = set $made "topics" (dict "create" false) -}}
{{- end -}}
{{- if and .Values.node.autoscaling.enabled (not .Values.node.autoscaling.minReplicas) -}}
{{- $made = set $made "nodes_on_demand" true -}}
{{- end -}}
{{- if .Values.models -}}
{{- $made = set $made "models" .Values.models -}}
{{- end -}}
{{ toYaml (mergeOverwrite $made (deepCopy .Values.settings)) }}
{{- end -}}
