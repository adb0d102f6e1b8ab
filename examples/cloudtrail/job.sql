-- CloudTrail logs (gzipped JSON, nested) become a Parquet table with one folder per day, exactly once, and a summary.
-- Run from the root of the repository:  cargo run -- run examples/cloudtrail/job.sql
-- Run it again: nothing is read twice. Put more files into the folder and run it again: only those are read.

SET spark.sql.session.timeZone = UTC;

CREATE TABLE trail (
    Records ARRAY<STRUCT<
      eventTime: STRING, eventSource: STRING, eventName: STRING, awsRegion: STRING, sourceIPAddress: STRING,
      userIdentity: STRUCT<type: STRING, arn: STRING>, errorCode: STRING, requestParameters: STRING>>)
  USING json OPTIONS (path 'examples/cloudtrail/data', maxFilesPerTrigger '4');

CREATE TEMPORARY VIEW events AS
  SELECT r.*, to_timestamp(r.eventTime) AS ts FROM (SELECT explode(Records) AS r FROM STREAM trail);

CREATE STREAMING TABLE events_by_day
  USING parquet PARTITIONED BY (day) LOCATION 'out/events'
  OPTIONS (checkpointLocation 'out/_checkpoint', trigger 'available-now')
  AS SELECT ts, eventSource, eventName, awsRegion, sourceIPAddress, userIdentity.arn AS arn, errorCode, requestParameters,
            date(ts) AS day
     FROM STREAM events;

-- A batch over the finished table, computed anew at each run, and printed.
CREATE MATERIALIZED VIEW daily USING console
  AS SELECT day, count(*) AS events, count(errorCode) AS errors, count(DISTINCT arn) AS users
     FROM events_by_day GROUP BY day ORDER BY day;
