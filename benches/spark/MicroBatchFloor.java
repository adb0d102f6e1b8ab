import java.util.Arrays;
import java.util.List;
import java.util.Locale;

import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Encoders;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.SparkSession;
import org.apache.spark.sql.execution.streaming.runtime.MemoryStream;
import org.apache.spark.sql.functions;
import org.apache.spark.sql.streaming.StreamingQuery;
import org.apache.spark.sql.streaming.Trigger;
import scala.jdk.javaapi.CollectionConverters;

/**
 * What Spark pays for a micro-batch of one row: MemoryStream in, noop sink, checkpoint on the local disk, closed loop
 * (a row is added when the batch of the last one has committed). MicroBatchFloor WORK BATCHES; a third warms up.
 */
public class MicroBatchFloor {
    /** CPU-nanoseconds of this process: all threads, JIT and GC included. */
    static long cpu() {
        return ((com.sun.management.OperatingSystemMXBean) java.lang.management.ManagementFactory.getOperatingSystemMXBean()).getProcessCpuTime();
    }

    static double at(long[] sorted, double p) {
        return sorted[(int) Math.min(sorted.length - 1, Math.floor(p * sorted.length))] / 1e6;
    }

    public static void main(String[] a) throws Exception {
        int n = Integer.parseInt(a[1]), warm = n / 3;
        SparkSession s = SparkSession.builder().getOrCreate();
        s.sparkContext().setLogLevel("ERROR");
        MemoryStream<Long> in = MemoryStream.apply(s, 1, Encoders.LONG());
        Dataset<Row> rows = in.toDF().select(functions.col("value").as("last"));
        StreamingQuery query = rows.writeStream().option("checkpointLocation", a[0] + "/checkpoint")
            .trigger(Trigger.ProcessingTime(0)).format("noop").start();
        long[] took = new long[n - warm];
        long cpu0 = 0;
        for (int i = 0; i < n; i++) {
            if (i == warm) {
                cpu0 = cpu();
            }
            long t = System.nanoTime();
            in.addData(CollectionConverters.asScala(List.of((long) i)).toSeq());
            query.processAllAvailable();
            if (i >= warm) {
                took[i - warm] = System.nanoTime() - t;
            }
        }
        double cpuMs = (cpu() - cpu0) / 1e6 / took.length;
        Arrays.sort(took);
        System.out.printf(Locale.ROOT, "{\"batches\": %d, \"cpu_ms_per_batch\": %.3f, \"p50_ms\": %.3f, \"p99_ms\": %.3f}%n",
            took.length, cpuMs, at(took, .5), at(took, .99));
        query.stop();
        s.stop();
    }
}
