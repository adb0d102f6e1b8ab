-- How often each tag came in the last 500 seconds, every 5 seconds: the bench runs it with windows of 5 seconds, too.
SET spark.sql.session.timeZone = UTC;

CREATE TABLE tags (ts BIGINT, tag STRING) USING parquet OPTIONS (path 'data', maxFilesPerTrigger '1');

CREATE STREAMING TABLE counts
  USING noop
  OPTIONS (checkpointLocation 'checkpoint', trigger 'available-now')
AS SELECT tag, window.start AS window_start, count(*) AS n
FROM (SELECT tag, timestamp_millis(ts) AS t FROM STREAM tags) WATERMARK t DELAY OF INTERVAL 1 SECOND AS e
GROUP BY tag, window(t, '500 seconds', '5 seconds');
