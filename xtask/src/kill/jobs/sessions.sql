-- Sessions of each kind, which rows out of order prolong and join.
SET spark.sql.session.timeZone = UTC;
CREATE TABLE src (id STRING, ts TIMESTAMP, k STRING, v BIGINT, token STRING)
  USING json OPTIONS (path 'in', maxFilesPerTrigger '1');
CREATE STREAMING TABLE result
  USING parquet LOCATION '{root}out'
  OPTIONS (checkpointLocation '{root}checkpoint'{flush})
  AS SELECT concat(unix_millis(session_window.start), '/', coalesce(k, '-')) AS id, unix_millis(session_window.end) AS ends,
       count(*) AS n, sum(v) AS v, count(DISTINCT token) AS tokens
     FROM STREAM src WATERMARK ts DELAY OF INTERVAL 60 SECONDS GROUP BY session_window(ts, '2 seconds'), k;
