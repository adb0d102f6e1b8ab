-- Views with the clicks on the same ad by the same user in the ten seconds after them. The same job for Spark: ../spark_job.py.
SET spark.sql.session.timeZone = UTC;

CREATE TABLE events (
  user_id STRING, page_id STRING, ad_id STRING, ad_type STRING, event_type STRING, event_time STRING, ip_address STRING
) USING json OPTIONS (path 'data', maxFilesPerTrigger '1');

CREATE STREAMING TABLE followed
  USING parquet LOCATION 'out'
  OPTIONS (checkpointLocation 'checkpoint', trigger 'available-now')
AS SELECT v.user_id AS v_user, v.ad_id AS v_ad, v.ts AS v_ts, c.ts AS c_ts
FROM (SELECT user_id, ad_id, timestamp_millis(CAST(event_time AS BIGINT)) AS ts FROM STREAM events WHERE event_type = 'view')
  WATERMARK ts DELAY OF INTERVAL 1 SECOND AS v
JOIN (SELECT user_id, ad_id, timestamp_millis(CAST(event_time AS BIGINT)) AS ts FROM STREAM events WHERE event_type = 'click')
  WATERMARK ts DELAY OF INTERVAL 1 SECOND AS c
ON v.user_id = c.user_id AND v.ad_id = c.ad_id AND c.ts >= v.ts AND c.ts <= v.ts + INTERVAL 10 SECONDS;
