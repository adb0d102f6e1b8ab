-- Flat JSON: filter, project, Parquet. The same job for Spark: ../spark_job.py.
SET spark.sql.session.timeZone = UTC;

CREATE TABLE events (
  user_id STRING, page_id STRING, ad_id STRING, ad_type STRING, event_type STRING, event_time STRING, ip_address STRING
) USING json OPTIONS (path 'data', maxFilesPerTrigger '1');

CREATE STREAMING TABLE views
  USING parquet LOCATION 'out'
  OPTIONS (checkpointLocation 'checkpoint', trigger 'available-now')
AS SELECT user_id, ad_id, page_id, ad_type, timestamp_millis(CAST(event_time AS BIGINT)) AS ts
FROM STREAM events
WHERE event_type = 'view' AND ad_type <> 'mail';
