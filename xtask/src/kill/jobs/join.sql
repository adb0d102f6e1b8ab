-- A stream joined with itself within a range of time; rows without a partner come when none can come any more.
SET spark.sql.session.timeZone = UTC;
CREATE TABLE src (id STRING, ts TIMESTAMP, k STRING, v BIGINT, token STRING)
  USING json OPTIONS (path 'in', maxFilesPerTrigger '1');
CREATE STREAMING TABLE result
  USING parquet LOCATION '{root}out'
  OPTIONS (checkpointLocation '{root}checkpoint'{flush})
  AS SELECT concat(l.id, '+', coalesce(r.id, '-')) AS id, l.v, r.k
     FROM (SELECT * FROM STREAM src WATERMARK ts DELAY OF INTERVAL 60 SECONDS WHERE ts IS NOT NULL) AS l
     LEFT JOIN (SELECT * FROM STREAM src WATERMARK ts DELAY OF INTERVAL 60 SECONDS WHERE ts IS NOT NULL AND v > 0) AS r
     ON l.k = r.k AND r.ts >= l.ts - INTERVAL 1 SECOND AND r.ts <= l.ts + INTERVAL 2 SECONDS AND l.id <> r.id;
