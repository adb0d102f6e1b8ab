import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.stream.Stream;

import org.apache.flink.configuration.CheckpointingOptions;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.CoreOptions;
import org.apache.flink.configuration.PipelineOptions;
import org.apache.flink.configuration.RestOptions;
import org.apache.flink.configuration.TaskManagerOptions;
import org.apache.flink.core.execution.CheckpointingMode;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.table.api.bridge.java.StreamTableEnvironment;
import org.apache.flink.table.functions.FunctionContext;
import org.apache.flink.table.functions.ScalarFunction;

/**
 * The Kafka jobs of benches/jobs for Flink SQL, in a cluster within this process, with two slots.
 *
 * <pre>KafkaJob JOB BOOTSTRAP FROM TO     FROM, TO: topics; `data` is in the working directory, `out` and `checkpoint` come there</pre>
 *
 * Exactly once on both ways: a checkpoint each second, and what was written since the last one becomes visible with it, by a Kafka
 * transaction of each of the two writers, or by renaming files. A bounded source stands for `available-now`.
 */
public final class KafkaJob {
    private static final String CHECKPOINTS = "checkpoint";
    private static final Duration CHECKPOINT_INTERVAL = Duration.ofSeconds(1);
    private static final int SLOTS = 2;

    /** The campaign of an ad. Flink joins a stream with a static table by state only, which would cost it more. */
    public static final class CampaignOf extends ScalarFunction {
        private final String folder;
        private transient Map<String, String> campaigns;

        public CampaignOf(String folder) {
            this.folder = folder;
        }

        @Override
        public void open(FunctionContext context) throws IOException {
            campaigns = new HashMap<>();
            try (Stream<Path> files = Files.list(Path.of(folder))) {
                for (Path file : files.filter(file -> file.toString().endsWith(".csv")).toList()) {
                    for (String line : Files.readAllLines(file)) {
                        String[] columns = line.split(",", 2);
                        campaigns.put(columns[0], columns[1]);
                    }
                }
            }
        }

        public String eval(String ad) {
            return campaigns.get(ad);
        }
    }

    public static void main(String[] args) throws Exception {
        String job = args[0];
        String bootstrap = args[1];
        String from = args[2];
        String to = args[3];
        Path here = Path.of("").toAbsolutePath();

        StreamTableEnvironment tables = StreamTableEnvironment.create(environment(here));
        tables.getConfig().set("table.local-time-zone", "UTC");
        tables.createTemporarySystemFunction("campaign_of", new CampaignOf(here.resolve("data/campaigns").toString()));
        tables.executeSql(
                """
                CREATE TABLE events (
                  user_id STRING, page_id STRING, ad_id STRING, ad_type STRING, event_type STRING, event_time STRING, ip_address STRING,
                  ts AS TO_TIMESTAMP_LTZ(CAST(event_time AS BIGINT), 3),
                  WATERMARK FOR ts AS ts - INTERVAL '10' SECOND
                ) WITH (
                  'connector' = 'kafka', 'properties.bootstrap.servers' = '%s', 'topic' = '%s', 'properties.group.id' = 'benchmark',
                  'properties.isolation.level' = 'read_committed', 'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset',
                  'format' = 'json'
                )"""
                        .formatted(bootstrap, from));
        String sink =
                switch (job) {
                    case "kafka-ysb" -> "'connector' = 'filesystem', 'format' = 'parquet', 'path' = '" + here.resolve("out").toUri() + "'";
                    case "kafka-ysb-kafka" ->
                            """
                            'connector' = 'kafka', 'properties.bootstrap.servers' = '%s', 'topic' = '%s', 'format' = 'json',
                            'sink.delivery-guarantee' = 'exactly-once', 'sink.transactional-id-prefix' = '%s',
                            'properties.transaction.timeout.ms' = '600000'"""
                                    .formatted(bootstrap, to, to);
                    default -> throw new IllegalArgumentException("Flink has no job " + job);
                };
        tables.executeSql("CREATE TABLE counts (campaign_id STRING, window_start TIMESTAMP(3), n BIGINT) WITH (" + sink + ")");
        tables.executeSql(
                """
                INSERT INTO counts
                SELECT campaign_id, window_start, COUNT(*)
                FROM TABLE(TUMBLE(
                  DATA => (SELECT campaign_of(ad_id) AS campaign_id, ts FROM events WHERE event_type = 'view'),
                  TIMECOL => DESCRIPTOR(ts), SIZE => INTERVAL '10' SECOND))
                GROUP BY campaign_id, window_start, window_end""")
                .await();
        // Threads of its clients are left.
        System.exit(0);
    }

    private static StreamExecutionEnvironment environment(Path here) {
        Configuration settings = new Configuration();
        settings.set(CheckpointingOptions.CHECKPOINTING_INTERVAL, CHECKPOINT_INTERVAL);
        settings.set(CheckpointingOptions.CHECKPOINTING_CONSISTENCY_MODE, CheckpointingMode.EXACTLY_ONCE);
        settings.set(CheckpointingOptions.CHECKPOINT_STORAGE, "filesystem");
        settings.set(CheckpointingOptions.CHECKPOINTS_DIRECTORY, here.resolve(CHECKPOINTS).toUri().toString());
        // Operators hand rows on without copying them: the faster way, safe for SQL.
        settings.set(PipelineOptions.OBJECT_REUSE, true);
        settings.set(TaskManagerOptions.NUM_TASK_SLOTS, SLOTS);
        settings.set(CoreOptions.DEFAULT_PARALLELISM, SLOTS);
        settings.set(CoreOptions.TMP_DIRS, here.toString());
        settings.set(RestOptions.BIND_PORT, "0");
        return StreamExecutionEnvironment.getExecutionEnvironment(settings);
    }
}
