import java.time.Duration;
import java.util.Map;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.*;
import org.springframework.kafka.core.*;
import org.springframework.kafka.listener.*;
import org.springframework.kafka.requestreply.ReplyingKafkaTemplate;

/** Asks a model in JSON with Spring's own template, which waits on a reply topic. */
public class Reply {
  public static void main(String[] arguments) throws Exception {
    String model = arguments[0], text = arguments[1], replies = arguments[2];
    var namespace = System.getenv().getOrDefault("NAMESPACE", "modelmora");
    Map<String, Object> kafka = Map.of(
        "bootstrap.servers", System.getenv("KAFKA"),
        "group.id", replies,
        "auto.offset.reset", "earliest");
    var producers = new DefaultKafkaProducerFactory<>(kafka, new StringSerializer(), new StringSerializer());
    var consumers = new DefaultKafkaConsumerFactory<>(kafka, new StringDeserializer(), new StringDeserializer());
    var listener = new ConcurrentMessageListenerContainer<>(consumers, new ContainerProperties(replies));
    var template = new ReplyingKafkaTemplate<>(producers, listener);
    template.setDefaultReplyTimeout(Duration.ofSeconds(60));
    template.start();
    template.waitForAssignment(Duration.ofSeconds(30));

    var request = new ProducerRecord<>(namespace + ".requests.normal", model, "{\"inputs\": [\"" + text + "\"]}");
    System.out.println(template.sendAndReceive(request).get().value());

    System.exit(0); // where no application context ends the template's threads
  }
}
