-- CSV with a header and quoted fields to JSON lines.
CREATE TABLE src (id STRING, n BIGINT, price DOUBLE, text STRING)
  USING csv OPTIONS (path 'in', header 'true', maxFilesPerTrigger '1');
CREATE STREAMING TABLE result
  USING json LOCATION '{root}out'
  OPTIONS (checkpointLocation '{root}checkpoint')
  AS SELECT id, n, price * 2 AS price2, text FROM STREAM src WHERE n % 7 <> 0;
