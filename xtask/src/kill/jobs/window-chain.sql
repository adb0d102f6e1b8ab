-- An aggregation of what an aggregation gave: minutes of windows of ten seconds.
SET spark.sql.session.timeZone = UTC;
CREATE TABLE src (id STRING, ts TIMESTAMP, k STRING, v BIGINT, token STRING)
  USING json OPTIONS (path 'in', maxFilesPerTrigger '1');
CREATE STREAMING TABLE result
  USING parquet LOCATION '{root}out'
  OPTIONS (checkpointLocation '{root}checkpoint'{flush})
  AS SELECT concat(unix_millis(window.start), '') AS id, count(*) AS groups, sum(n) AS n, max(n) AS most, sum(v) AS v
     FROM (SELECT window_time(window) AS at, k, count(*) AS n, sum(v) AS v
           FROM STREAM src WATERMARK ts DELAY OF INTERVAL 60 SECONDS GROUP BY window(ts, '10 seconds'), k) AS tens
     GROUP BY window(at, '60 seconds');
