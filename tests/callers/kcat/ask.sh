# Asks a model in JSON, waits for the outcome, then tells when the model was loaded.
model=$1 text=$2 namespace=${NAMESPACE:-modelmora}
id=$(cat /proc/sys/kernel/random/uuid)
printf '{"request_id": "%s", "inputs": ["%s"]}' "$id" "$text" |
  kcat -b "$KAFKA" -P -t "$namespace.requests.normal" -k "$model" -X partitioner=murmur2_random

first() { # the first line that kcat writes of a topic and that begins so
  grep -m 1 "^$2" <(exec kcat -b "$KAFKA" -C -q -u -t "$namespace.$1" -f "$3\n")
  kill $!
}
first results.json "$id" '%k %s'
first events "$model .*modelmora.loaded" '%k %h'
