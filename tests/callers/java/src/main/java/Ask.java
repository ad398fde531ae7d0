import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.time.Duration;
import java.util.*;
import org.apache.avro.Schema;
import org.apache.avro.generic.*;
import org.apache.avro.message.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.serialization.*;

/** Asks a model, waits for the outcome, then tells what happened to the model until it was loaded. */
public class Ask {
  static final String NAMESPACE = System.getenv().getOrDefault("NAMESPACE", "modelmora");

  public static void main(String[] arguments) throws Exception {
    String model = arguments[0], text = arguments[1], id = UUID.randomUUID().toString();
    var asked = schema("inference_request");
    var request = new GenericRecordBuilder(asked)
        .set("request_id", id)
        .set("model", model)
        .set("inputs", List.of(text))
        .build();
    var value = new BinaryMessageEncoder<GenericRecord>(GenericData.get(), asked).encode(request);
    Map<String, Object> kafka = Map.of(
        "bootstrap.servers", System.getenv("KAFKA"),
        "group.id", id,
        "auto.offset.reset", "earliest",
        "isolation.level", "read_committed");
    try (var producer = new KafkaProducer<>(kafka, new StringSerializer(), new ByteBufferSerializer());
         var consumer = new KafkaConsumer<>(kafka, new StringDeserializer(), new ByteBufferDeserializer())) {
      producer.send(new ProducerRecord<>(NAMESPACE + ".requests.normal", model, value)).get();

      consumer.subscribe(List.of(NAMESPACE + ".results"));
      var result = first(consumer, id, decoder("inference_result"), Map.of());
      System.out.println(id + " " + result.get("status") + " " + result.get("outputs"));

      consumer.subscribe(List.of(NAMESPACE + ".events"));
      var loaded = first(consumer, model, decoder("lifecycle_event"), Map.of("kind", "loaded"));
      System.out.println(loaded.get("kind") + " " + loaded.get("model") + "@" + loaded.get("version"));
    }
  }

  static Schema schema(String name) throws Exception {
    return new Schema.Parser().parse(Path.of("schemas", name + ".avsc").toFile());
  }

  static MessageDecoder<GenericRecord> decoder(String name) throws Exception {
    return new BinaryMessageDecoder<>(GenericData.get(), schema(name));
  }

  /** The first message under a key that has these fields. */
  static GenericRecord first(
      Consumer<String, ByteBuffer> consumer, String key, MessageDecoder<GenericRecord> decoder, Map<String, String> fields)
      throws Exception {
    while (true) {
      for (var record : consumer.poll(Duration.ofSeconds(1))) {
        if (!key.equals(record.key())) continue;
        var message = decoder.decode(record.value());
        if (fields.keySet().stream().allMatch(name -> message.get(name).toString().equals(fields.get(name)))) {
          return message;
        }
      }
    }
  }
}
