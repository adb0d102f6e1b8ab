-- Sliding windows of event time from a topic to Parquet.
SET spark.sql.session.timeZone = UTC;
CREATE TABLE src USING kafka
  OPTIONS (kafka.bootstrap.servers '{servers}', subscribe '{topics}in', startingOffsets 'earliest', maxOffsetsPerTrigger '60');
CREATE STREAMING TABLE result
  USING parquet LOCATION '{root}out'
  OPTIONS (checkpointLocation '{root}checkpoint'{flush})
  AS SELECT concat(unix_millis(window.start), '') AS id, count(*) AS n, count(DISTINCT k) AS ks, max(v) AS v
     FROM (SELECT r.* FROM (SELECT from_json(cast(value AS string), 'ts TIMESTAMP, k STRING, v BIGINT') AS r FROM STREAM src))
       WATERMARK ts DELAY OF INTERVAL 180 SECONDS AS e
     GROUP BY window(ts, '30 seconds', '10 seconds');
