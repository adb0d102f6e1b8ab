-- How many events has each customer? Every customer has a topic, and a topic that appears while the job runs is found.
-- Update mode: a batch shows the counts that it has changed.
CREATE TABLE events USING kafka
  OPTIONS (kafka.bootstrap.servers '127.0.0.1:9092', subscribePattern 'customer-[a-z]+', startingOffsets 'earliest');

CREATE STREAMING TABLE counts USING console
  OPTIONS (checkpointLocation 'checkpoint', outputMode 'update')
  AS SELECT topic, count(*) AS n FROM STREAM events GROUP BY topic;
