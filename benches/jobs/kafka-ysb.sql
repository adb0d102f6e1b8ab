-- The Yahoo streaming benchmark from Kafka: JSON values, filter, join with the campaigns, count per campaign and 10 seconds.
SET spark.sql.session.timeZone = UTC;

CREATE TABLE campaigns (ad_id STRING, campaign_id STRING) USING csv OPTIONS (path 'data/campaigns');

CREATE TABLE raw USING kafka
  OPTIONS (kafka.bootstrap.servers '@BOOTSTRAP@', subscribe '@FROM@', startingOffsets 'earliest', maxOffsetsPerTrigger '500000');

CREATE STREAMING TABLE counts
  USING parquet LOCATION 'out'
  OPTIONS (checkpointLocation 'checkpoint', trigger 'available-now')
AS SELECT campaign_id, window.start AS window_start, count(*) AS n
FROM (
  SELECT e.ad_id, timestamp_millis(CAST(e.event_time AS BIGINT)) AS ts
  FROM (
    SELECT from_json(CAST(value AS STRING), 'user_id STRING, page_id STRING, ad_id STRING, ad_type STRING, event_type STRING, event_time STRING, ip_address STRING') AS e
    FROM STREAM raw
  )
  WHERE e.event_type = 'view'
) WATERMARK ts DELAY OF INTERVAL 10 SECONDS AS v
JOIN campaigns ON v.ad_id = campaigns.ad_id
GROUP BY campaign_id, window(ts, '10 seconds');
