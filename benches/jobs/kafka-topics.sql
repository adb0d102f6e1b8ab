-- Many quiet topics, counted by topic each second.
CREATE TABLE raw USING kafka OPTIONS (kafka.bootstrap.servers '@BOOTSTRAP@', subscribePattern 'customer-.*', startingOffsets 'earliest');

CREATE STREAMING TABLE counts
  USING noop
  OPTIONS (checkpointLocation 'checkpoint', trigger '1 second', outputMode 'update')
AS SELECT topic, count(*) AS n FROM STREAM raw GROUP BY topic;
