-- The first row of each id: every id stays in the state.
SET spark.sql.session.timeZone = UTC;

CREATE TABLE ids (id STRING, ts BIGINT) USING json OPTIONS (path 'data', maxFilesPerTrigger '1');

CREATE STREAMING TABLE firsts
  USING parquet LOCATION 'out'
  OPTIONS (checkpointLocation 'checkpoint', trigger 'available-now')
AS SELECT id, ts
FROM drop_duplicates_within_watermark(
  (SELECT id, timestamp_millis(ts) AS ts FROM STREAM ids) WATERMARK ts DELAY OF INTERVAL 1 HOUR, 'id');
