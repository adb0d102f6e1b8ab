-- How often each tag came in the last 10 minutes, every 10 seconds. The same job for Spark: ../spark_job.py.
SET spark.sql.session.timeZone = UTC;

CREATE TABLE tags (ts BIGINT, tag STRING) USING json OPTIONS (path 'data', maxFilesPerTrigger '1');

CREATE STREAMING TABLE counts
  USING parquet LOCATION 'out'
  OPTIONS (checkpointLocation 'checkpoint', trigger 'available-now')
AS SELECT tag, window.start AS window_start, count(*) AS n
FROM (SELECT tag, timestamp_millis(ts) AS t FROM STREAM tags) WATERMARK t DELAY OF INTERVAL 1 SECOND AS e
GROUP BY tag, window(t, '10 minutes', '10 seconds');
