// Line protocol from Java: java -cp 'kafka-clients.jar:slf4j-api.jar' kafka_push.java
// (Both are at Maven Central: org.apache.kafka:kafka-clients and org.slf4j:slf4j-api.)

import java.util.Properties;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

class KafkaPush {
    public static void main(String[] arguments) throws Exception {
        var settings = new Properties();
        settings.put("bootstrap.servers", "localhost:9092");
        settings.put("acks", "all");
        try (var producer =
                new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
            long nanoseconds = System.currentTimeMillis() * 1_000_000;
            var memory = Runtime.getRuntime();
            String line =
                    String.format(
                            "jvm,service=billing heap_used=%di,heap_max=%di %d",
                            memory.totalMemory() - memory.freeMemory(),
                            memory.maxMemory(),
                            nanoseconds);
            var written = producer.send(new ProducerRecord<>("telegraf", "billing", line)).get();
            System.out.println("written to " + written);
        }
    }
}
