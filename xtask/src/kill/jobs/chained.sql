-- Two chained streaming tables: the second reads whole committed batches of the first.
CREATE TABLE src (id STRING, ts STRING, kind STRING, n BIGINT, text STRING)
  USING json OPTIONS (path 'in', maxFilesPerTrigger '1');
CREATE STREAMING TABLE bronze
  USING parquet LOCATION '{root}bronze'
  OPTIONS (checkpointLocation '{root}checkpoint/bronze')
  AS SELECT id, n, text FROM STREAM src;
CREATE STREAMING TABLE silver
  USING parquet LOCATION '{root}silver'
  OPTIONS (checkpointLocation '{root}checkpoint/silver')
  AS SELECT id, n * 2 AS n2, upper(text) AS text FROM STREAM bronze WHERE n % 2 = 0;
