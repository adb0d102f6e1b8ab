-- What is counted and added up per key, over more keys than `state.memoryLimit` has room for.
CREATE TABLE events (key STRING, v BIGINT) USING parquet OPTIONS (path 'data', maxFilesPerTrigger '1');

CREATE STREAMING TABLE totals
  USING noop
  OPTIONS (checkpointLocation 'checkpoint', trigger 'available-now', outputMode 'update')
AS SELECT key, count(*) AS n, sum(v) AS total FROM STREAM events GROUP BY key;
