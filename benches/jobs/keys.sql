-- What is counted and added up per key, each batch giving the keys that it changed. Two runs of it, over few and over many keys, tell
-- what a key costs. The checked run has the console in place of noop, which takes any option.
CREATE TABLE events (key STRING, v BIGINT) USING json OPTIONS (path 'data', maxFilesPerTrigger '1');

CREATE STREAMING TABLE totals
  USING noop
  OPTIONS (checkpointLocation 'checkpoint', trigger 'available-now', outputMode 'update', format 'json')
AS SELECT key, count(*) AS n, sum(v) AS total FROM STREAM events GROUP BY key;
