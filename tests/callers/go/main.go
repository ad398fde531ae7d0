// Asks a model, waits for the outcome, then tells when the model was loaded.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/google/uuid"
	"github.com/linkedin/goavro/v2"
	"github.com/twmb/franz-go/pkg/kgo"
)

func main() {
	model, text, id := os.Args[1], os.Args[2], uuid.NewString()
	namespace := os.Getenv("NAMESPACE")
	if namespace == "" {
		namespace = "modelmora"
	}
	value, err := codec("inference_request").SingleFromNative(nil, map[string]any{
		"request_id": id,
		"model":      model,
		"inputs":     []any{goavro.Union("string", text)},
	})
	check(err)
	client := connect() // places keys as Java does
	defer client.Close()
	request := kgo.Record{Topic: namespace + ".requests.normal", Key: []byte(model), Value: value}
	check(client.ProduceSync(context.Background(), &request).FirstErr())

	result := first(namespace+".results", id, codec("inference_result"), nil)
	fmt.Println(id, result["status"], result["outputs"])

	loaded := first(namespace+".events", model, codec("lifecycle_event"), map[string]any{"kind": "loaded"})
	fmt.Printf("%s %s@%s\n", loaded["kind"], model, loaded["version"].(map[string]any)["string"])
}

func connect(options ...kgo.Opt) *kgo.Client {
	client, err := kgo.NewClient(append(options, kgo.SeedBrokers(os.Getenv("KAFKA")))...)
	check(err)
	return client
}

// The first message under a key that has these fields.
func first(topic, key string, codec *goavro.Codec, fields map[string]any) map[string]any {
	client := connect(kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	defer client.Close()
	for {
	records:
		for _, record := range client.PollFetches(context.Background()).Records() {
			if string(record.Key) != key {
				continue
			}
			native, _, err := codec.NativeFromSingle(record.Value)
			check(err)
			message := native.(map[string]any)
			for name, value := range fields {
				if message[name] != value {
					continue records
				}
			}
			return message
		}
	}
}

func codec(name string) *goavro.Codec {
	schema, err := os.ReadFile("schemas/" + name + ".avsc")
	check(err)
	made, err := goavro.NewCodec(string(schema))
	check(err)
	return made
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
