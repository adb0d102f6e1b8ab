-- Windows whose query is changed on the way: it begins as windows-before.sql.
SET spark.sql.session.timeZone = UTC;
CREATE TABLE src (id STRING, ts TIMESTAMP, k STRING, v BIGINT, token STRING)
  USING json OPTIONS (path 'in', maxFilesPerTrigger '1');
CREATE STREAMING TABLE result
  USING parquet LOCATION '{root}out'
  OPTIONS (checkpointLocation '{root}checkpoint'{flush})
  AS SELECT concat(unix_millis(window.start), '/', coalesce(k, '-')) AS id, count(*) AS n, max(v) AS most, sum(v) AS v, sum(v) * count(*) AS area
     FROM STREAM src WATERMARK ts DELAY OF INTERVAL 60 SECONDS GROUP BY window(ts, '10 seconds'), k;
