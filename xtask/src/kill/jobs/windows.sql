-- Windows of event time, tumbling and sliding, and grouping sets, appended to Parquet when they are final.
SET spark.sql.session.timeZone = UTC;
CREATE TABLE src (id STRING, ts TIMESTAMP, k STRING, v BIGINT, token STRING)
  USING json OPTIONS (path 'in', maxFilesPerTrigger '1');
CREATE STREAMING TABLE tumbling
  USING parquet LOCATION '{root}tumbling'
  OPTIONS (checkpointLocation '{root}checkpoint/tumbling'{flush})
  AS SELECT concat(unix_millis(window.start), '/', coalesce(k, '-')) AS id, count(*) AS n, sum(v) AS v, min(src.id) AS first
     FROM STREAM src WATERMARK ts DELAY OF INTERVAL 60 SECONDS GROUP BY window(ts, '10 seconds'), k;
CREATE STREAMING TABLE sliding
  USING parquet LOCATION '{root}sliding'
  OPTIONS (checkpointLocation '{root}checkpoint/sliding'{flush})
  AS SELECT concat(unix_millis(window.start), '') AS id, count(*) AS n, count(DISTINCT k) AS ks, max(v) AS v
     FROM STREAM src WATERMARK ts DELAY OF INTERVAL 60 SECONDS WHERE v IS NOT NULL GROUP BY window(ts, '30 seconds', '10 seconds');
CREATE STREAMING TABLE rollup
  USING parquet LOCATION '{root}rollup'
  OPTIONS (checkpointLocation '{root}checkpoint/rollup'{flush})
  AS SELECT concat(unix_millis(window.start), '/', coalesce(k, '-'), '/', grouping(k)) AS id, count(*) AS n, sum(v) AS v
     FROM STREAM src WATERMARK ts DELAY OF INTERVAL 60 SECONDS GROUP BY GROUPING SETS ((window(ts, '20 seconds'), k), (window(ts, '20 seconds')));
