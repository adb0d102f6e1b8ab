-- The Yahoo streaming benchmark from JSON: filter, join with the campaigns, count per campaign and 10 seconds. The same job for
-- Spark: ../spark_job.py.
SET spark.sql.session.timeZone = UTC;

CREATE TABLE campaigns (ad_id STRING, campaign_id STRING) USING csv OPTIONS (path 'data/campaigns');

CREATE TABLE events (
  user_id STRING, page_id STRING, ad_id STRING, ad_type STRING, event_type STRING, event_time STRING, ip_address STRING
) USING json OPTIONS (path 'data/events', maxFilesPerTrigger '1');

CREATE STREAMING TABLE counts
  USING parquet LOCATION 'out'
  OPTIONS (checkpointLocation 'checkpoint', trigger 'available-now')
AS SELECT campaign_id, window.start AS window_start, count(*) AS n
FROM (SELECT ad_id, timestamp_millis(CAST(event_time AS BIGINT)) AS ts FROM STREAM events WHERE event_type = 'view')
  WATERMARK ts DELAY OF INTERVAL 10 SECONDS AS e
JOIN campaigns ON e.ad_id = campaigns.ad_id
GROUP BY campaign_id, window(ts, '10 seconds');
