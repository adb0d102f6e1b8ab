-- A socket made replayable by its write-ahead log, to Parquet, in many small commits.
CREATE TABLE lines USING socket OPTIONS (host '127.0.0.1', port '{port}', writeAheadLog 'true');
CREATE STREAMING TABLE result
  USING parquet LOCATION 'out'
  OPTIONS (checkpointLocation 'checkpoint', commitInterval '0 seconds')
  AS SELECT value AS id FROM STREAM lines;
