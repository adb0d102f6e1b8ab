-- The first row of each user and ad within an hour: 3.3 M keys of 4 M rows. The same job for Spark: ../spark_job.py.
SET spark.sql.session.timeZone = UTC;

CREATE TABLE events (
  user_id STRING, page_id STRING, ad_id STRING, ad_type STRING, event_type STRING, event_time STRING, ip_address STRING
) USING json OPTIONS (path 'data', maxFilesPerTrigger '1');

CREATE STREAMING TABLE firsts
  USING parquet LOCATION 'out'
  OPTIONS (checkpointLocation 'checkpoint', trigger 'available-now')
AS SELECT user_id, ad_id, ts
FROM drop_duplicates_within_watermark(
  (SELECT user_id, ad_id, timestamp_millis(CAST(event_time AS BIGINT)) AS ts FROM STREAM events) WATERMARK ts DELAY OF INTERVAL 1 HOUR,
  'user_id', 'ad_id');
