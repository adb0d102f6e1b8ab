-- JSON files to Parquet, two partition columns, one of them null at times.
SET spark.sql.session.timeZone = UTC;
CREATE TABLE src (id STRING, ts STRING, kind STRING, n BIGINT, text STRING)
  USING json OPTIONS (path 'in', maxFilesPerTrigger '1');
CREATE STREAMING TABLE result
  USING parquet PARTITIONED BY (day, kind) LOCATION '{root}out'
  OPTIONS (checkpointLocation '{root}checkpoint')
  AS SELECT id, CAST(ts AS TIMESTAMP) AS ts, n + 1 AS n, text, date(CAST(ts AS TIMESTAMP)) AS day, kind
     FROM STREAM src WHERE n % 10 <> 3;
