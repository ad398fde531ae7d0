// Asks a model, waits for the outcome, then tells when the model was loaded.
import { readFileSync } from "node:fs";
import { randomUUID } from "node:crypto";
import avro from "avsc";
import { compatibilityPartitioner, Consumer, MessagesStreamModes, Producer } from "@platformatic/kafka";

const schema = (name) => JSON.parse(readFileSync(`schemas/${name}.avsc`));
const type = (name) => avro.Type.forSchema(schema(name), { wrapUnions: true });
const REQUEST = Buffer.from("c301cb7de1a67dad3fbf", "hex"); // the header of InferenceRequest

const [model, text] = process.argv.slice(2);
const namespace = process.env.NAMESPACE ?? "modelmora";
const id = randomUUID();
const kafka = { clientId: "ask", bootstrapBrokers: process.env.KAFKA.split(",") };

const producer = new Producer({ ...kafka, partitioner: compatibilityPartitioner }); // as Java places keys
const request = type("inference_request").toBuffer({ request_id: id, model, inputs: [{ string: text }] });
await producer.send({
  messages: [
    {
      topic: `${namespace}.requests.normal`,
      key: Buffer.from(model),
      value: Buffer.concat([REQUEST, request]),
    },
  ],
});
await producer.close();

/** The first message under a key that has these fields. */
async function first(topic, key, type, fields = {}) {
  const consumer = new Consumer({ ...kafka, groupId: `${id}-${topic}` });
  const stream = await consumer.consume({ topics: [topic], mode: MessagesStreamModes.EARLIEST });
  try {
    for await (const record of stream) {
      if (record.key?.toString() !== key) continue;
      const message = type.fromBuffer(record.value.subarray(10)); // behind the header
      if (Object.entries(fields).every(([name, value]) => message[name] === value)) return message;
    }
  } finally {
    await consumer.close(true);
  }
}

const result = await first(`${namespace}.results`, id, type("inference_result"));
console.log(id, result.status, JSON.stringify(result.outputs));
const loaded = await first(`${namespace}.events`, model, type("lifecycle_event"), { kind: "loaded" });
console.log(`${loaded.kind} ${loaded.model.string}@${loaded.version.string}`);
