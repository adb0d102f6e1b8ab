-- Records as they come, to another topic.
CREATE TABLE raw USING kafka OPTIONS (kafka.bootstrap.servers '@BOOTSTRAP@', subscribe '@FROM@', startingOffsets 'earliest');

CREATE STREAMING TABLE copied
  USING kafka
  OPTIONS (kafka.bootstrap.servers '@BOOTSTRAP@', topic '@TO@', checkpointLocation 'checkpoint', delivery '@DELIVERY@')
AS SELECT value, partition FROM STREAM raw;
