-- Windows of event time, appended to a topic when they are final.
SET spark.sql.session.timeZone = UTC;
CREATE TABLE src USING kafka
  OPTIONS (kafka.bootstrap.servers '{servers}', subscribe '{topics}in', startingOffsets 'earliest', maxOffsetsPerTrigger '60');
CREATE STREAMING TABLE result
  USING kafka
  OPTIONS (checkpointLocation '{root}checkpoint'{flush}, kafka.bootstrap.servers '{servers}', topic '{topics}out', markerTopic '{topics}markers')
  AS SELECT id AS key, to_json(struct(id, n, v, first)) AS value
     FROM (SELECT concat(unix_millis(window.start), '/', coalesce(k, '-')) AS id, count(*) AS n, sum(v) AS v, min(id) AS first
           FROM (SELECT r.* FROM (SELECT from_json(cast(value AS string), 'id STRING, ts TIMESTAMP, k STRING, v BIGINT') AS r FROM STREAM src))
             WATERMARK ts DELAY OF INTERVAL 180 SECONDS AS e
           GROUP BY window(ts, '10 seconds'), k);
