-- As it was before somebody changed it to windows-changed.sql: a narrower value, one aggregate more, a condition, a column less.
SET spark.sql.session.timeZone = UTC;
CREATE TABLE src (id STRING, ts TIMESTAMP, k STRING, v INT, token STRING)
  USING json OPTIONS (path 'in', maxFilesPerTrigger '1');
CREATE STREAMING TABLE result
  USING parquet LOCATION '{root}out'
  OPTIONS (checkpointLocation '{root}checkpoint'{flush})
  AS SELECT concat(unix_millis(window.start), '/', coalesce(k, '-')) AS id, sum(v) AS v, count(*) AS n, CAST(max(v) AS BIGINT) AS most
     FROM STREAM src WATERMARK ts DELAY OF INTERVAL 60 SECONDS GROUP BY window(ts, '10 seconds'), k HAVING min(src.id) IS NOT NULL;
